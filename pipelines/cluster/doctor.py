"""Check everything that a run needs, before anything is created, and say how to fix each problem.

A check returns a text about what it found. It raises `InputError` if there is a problem; the message says how to fix
it. It raises `UnseenError` if this machine or account cannot check.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from rich.table import Table

from components.container_images import check_images, image_reference
from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from components.shared.services.kfp_endpoint import Endpoint
from pipelines.cluster.kubernetes_view import KFP_NAMESPACE, ClusterView, UnseenError
from pipelines.config.cluster_config import GpuResources
from pipelines.config.run_config import RunConfig

MARKS = {"right": "[green]✓[/]", "wrong": "[red]✗[/]", "unseen": "[yellow]?[/]"}

Check = Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    state: Literal["right", "wrong", "unseen"]
    text: str


def examine(config: RunConfig, allow_tags: bool = False) -> Iterator[Finding]:
    """Run all checks and yield the result of each check. A check that fails does not stop the other checks."""
    for subject, check in _checks(config, allow_tags):
        try:
            yield Finding(subject, "right", check())
        except UnseenError as error:
            yield Finding(subject, "unseen", str(error))
        except InputError as error:
            yield Finding(subject, "wrong", str(error))
        except Exception as error:  # an unexpected error in one check must not hide the other checks
            yield Finding(subject, "wrong", f"{type(error).__name__}: {error}")


def findings_table(findings: list[Finding]) -> Table:
    """Return a table of the results."""
    table = Table(title="What a run needs", title_justify="left", show_lines=True)
    for column in ("", "what", "found, or how to fix it"):
        table.add_column(column, overflow="fold")

    for finding in findings:
        table.add_row(MARKS[finding.state], finding.subject, finding.text)
    return table


def _checks(config: RunConfig, allow_tags: bool) -> Iterator[tuple[str, Check]]:
    cluster = config.cluster
    namespace = os.environ.get("KFP_NAMESPACE") or KFP_NAMESPACE

    def check_kfp_and_namespace() -> str:
        """Check KFP and note the namespace of its pods. In single-user mode, KFP ignores KFP_NAMESPACE."""
        nonlocal namespace
        api = KfpApi(Endpoint.from_environment())
        answer = check_kfp(api)
        namespace = api.namespace or KFP_NAMESPACE
        return answer

    yield "container images", partial(check_digests, allow_tags)
    yield "Kubeflow Pipelines", check_kfp_and_namespace

    view = ClusterView(namespace)
    yield "namespace", view.namespace_there
    yield "service account", partial(view.service_account, cluster.service_account)
    yield from _secret_checks(config, view)
    if cluster.cache_claim:
        yield "cache volume", partial(view.claim, cluster.cache_claim)
    if cluster.priority_class:
        yield "priority class", partial(view.priority_class, cluster.priority_class)

    for need in _accelerators(config):
        yield f"GPU: {need.accelerator}", partial(view.accelerator, need)

    yield "S3", partial(check_store, config.store)
    yield "MLflow", partial(check_registry, config.model_name)
    for name, candidate in config.candidates.items():
        train = candidate.train
        yield f"weights of {name}", partial(check_weights, train.architecture, train.weights)


def _secret_checks(config: RunConfig, view: ClusterView) -> Iterator[tuple[str, Check]]:
    from pipelines.graphs.pod_policy import (
        MLFLOW_KEYS,
        NOTIFY_KEYS,
        S3_KEYS,
    )  # imported late, because kfp.kubernetes takes seconds to import

    cluster = config.cluster
    yield f"Secret {cluster.s3_secret}", partial(view.secret, cluster.s3_secret, S3_KEYS)
    yield f"Secret {cluster.mlflow_secret}", partial(view.secret, cluster.mlflow_secret, MLFLOW_KEYS)
    yield f"Secret {cluster.notify_secret}", partial(view.secret, cluster.notify_secret, NOTIFY_KEYS, optional=True)


def _accelerators(config: RunConfig) -> list[GpuResources]:
    """Return the largest request for each kind of accelerator and node."""
    needs = [config.cluster.champion, config.cluster.collect]
    for candidate in config.candidates.values():
        needs += [candidate.resources.train, candidate.resources.predict, candidate.resources.explain]

    largest: dict[tuple, GpuResources] = {}
    for need in sorted(needs, key=lambda need: need.accelerators):
        if need.accelerators:
            kind = (need.accelerator, *sorted(need.node_selector.items()))
            largest[kind] = need
    return list(largest.values())


def check_digests(allow_tags: bool = False) -> str:
    """Check that the container images are named by their digests."""
    check_images(allow_tags)
    return "\n".join(image_reference(target) for target in ("cpu", "gpu"))


def check_kfp(api: KfpApi) -> str:
    """Check that KFP answers and can be used."""
    version = api.check()
    namespace = f", namespace {api.namespace or KFP_NAMESPACE}"
    return f"version {version} at {api.endpoint.url}{namespace}"


def check_store(uri: str) -> str:
    """Write, read and delete a small object under the storage root."""
    from components.shared.services.store import Store

    store = Store(uri)
    key = f"doctor/{secrets.token_hex(8)}"
    content = secrets.token_bytes(16)
    store.put_bytes(key, content)
    try:
        if store.get_bytes(key) != content:
            raise InputError(f"{uri} does not return the bytes that were written; check the S3 server")
    finally:
        store.delete([key])
    return f"{uri}: written, read, deleted"


def check_registry(model: str) -> str:
    """Check that MLflow answers, and return the registered model's aliases."""
    from components.shared.services import mlflow_runs
    from pipelines.registry.access import require_answer

    require_answer(mlflow_runs.client())

    found = mlflow_runs.client().search_registered_models(f"name = '{model}'")
    if not found:
        return f'it answers; there is no model "{model}" yet. The first run that passes the gate registers it'

    aliases = found[0].aliases
    named = ", ".join(f"{alias} is version {version}" for alias, version in sorted(aliases.items()))
    return f'it answers; "{model}": {named or "no alias yet"}'


def check_weights(architecture: str, source: str) -> str:
    """Check that a candidate's initial weights can be loaded, as far as this machine can check."""
    if source == "none":
        return "none: trained from scratch"
    from components.shared.network.weights import HUB_SECONDS, hub_place, known_digest

    if source.startswith("s3://"):
        from components.shared.services.store import Store

        root, _, key = source.rpartition("/")
        if not Store(root).exists(key):
            raise InputError(f"{source} does not exist; copy the weights there with `crack-pipeline mirror-weights`")
        return f"{source} exists, sha256 {known_digest(source)[:12]}…"

    if source != "hub":
        raise UnseenError(f"{source} must exist inside the pods, and this machine cannot check that")

    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    address = hf_hub_url(*hub_place(architecture))
    try:
        get_hf_file_metadata(address, timeout=HUB_SECONDS)
    except Exception as error:  # from the hub's client, its HTTP library or the operating system
        raise InputError(
            f"{address} cannot be reached ({type(error).__name__}); copy the weights to S3 with "
            "`crack-pipeline mirror-weights`, and set weights to that address"
        ) from error
    return f"{address} answers this machine"
