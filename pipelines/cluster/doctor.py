"""Check everything that a run needs, before anything is created. For each problem, say how to fix it.

A check returns a text about what it found. It raises `InputError` if a run would fail, and the message says how to fix
the problem. It raises `WarnedError` if a run works but something should be changed. It raises `UnseenError` if this
machine or this account cannot do the check.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from rich.table import Table

from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from components.shared.services.kfp_endpoint import Endpoint
from pipelines.cluster.image_checks import check_container_images, check_server_image
from pipelines.cluster.kubernetes_view import KFP_NAMESPACE, ClusterView, UnseenError, WarnedError
from pipelines.cluster.namespace_checks import (
    check_labels,
    check_network_policies,
    check_quotas,
    check_same_cluster,
    check_volumes,
)
from pipelines.cluster.service_checks import check_kfp, check_store, check_weights
from pipelines.cluster.token_check import check_token
from pipelines.config.cluster_config import CpuStep, GpuResources, Resources
from pipelines.config.run_config import RunConfig

MARKS = {"right": "[green]✓[/]", "wrong": "[red]✗[/]", "warned": "[yellow]![/]", "unseen": "[yellow]?[/]"}

Check = Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    state: Literal["right", "wrong", "warned", "unseen"]
    text: str


def examine(config: RunConfig, allow_tags: bool = False) -> Iterator[Finding]:
    """Run all checks and yield the result of each check. A check that fails does not stop the other checks."""
    for subject, check in _checks(config, allow_tags):
        try:
            yield Finding(subject, "right", check())
        except WarnedError as error:
            yield Finding(subject, "warned", str(error))
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
    serves_many_users = True

    def check_kfp_and_namespace() -> str:
        """Check KFP, and store the namespace of a run's pods. In single-user mode, KFP ignores KFP_NAMESPACE."""
        nonlocal namespace, serves_many_users
        api = KfpApi(Endpoint.from_environment())
        try:
            return check_kfp(api)
        finally:
            serves_many_users = bool(api.namespace)
            namespace = api.namespace or KFP_NAMESPACE

    yield "container images", partial(check_container_images, allow_tags)
    if not allow_tags:
        yield "MLflow's container image", check_server_image
    yield "Kubeflow Pipelines", check_kfp_and_namespace
    yield "token for KFP", lambda: check_token(Endpoint.from_environment(), cluster.run_deadline)

    view = ClusterView(namespace)
    yield "one cluster", lambda: check_same_cluster(view, Endpoint.from_environment())
    yield "namespace", view.namespace_there
    if serves_many_users:
        yield "labels of the namespace", partial(check_labels, view)
    yield "KFP's settings", view.set_up_by_kfp
    yield "service account", partial(view.service_account, cluster.service_account)
    yield from _secret_checks(config, view)
    if cluster.cache_claim:
        yield "cache volume", partial(view.claim, cluster.cache_claim)
    if cluster.priority_class:
        yield "priority class", partial(view.priority_class, cluster.priority_class)

    for need in _accelerators(config):
        yield f"GPU: {need.accelerator}", partial(view.accelerator, need)
    yield "size of the nodes", partial(view.room_for_steps, _needs(config))
    yield "quota", partial(check_quotas, view, _needs(config))
    yield "storage class", partial(check_volumes, view)
    yield "network policies", partial(check_network_policies, view)

    yield "S3", partial(check_store, config.store)
    yield "MLflow", partial(_check_mlflow, config)
    for name, candidate in config.candidates.items():
        train = candidate.train
        yield f"weights of {name}", partial(check_weights, train.architecture, train.weights)


def _check_mlflow(config: RunConfig) -> str:
    from pipelines.cluster.mlflow_check import check_mlflow  # imported late, because mlflow takes seconds to import

    return check_mlflow(config.model_name, config.experiment)


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


def _needs(config: RunConfig) -> dict[str, Resources]:
    """Return a dict: name of each step -> resources that its pod requests."""
    cluster = config.cluster
    needs: dict[str, Resources] = {
        "champion": cluster.champion,
        "collect": cluster.collect,
        "inspect": cluster.inspect,
    }
    for step in get_args(CpuStep):
        needs[step] = cluster.steps.get(step, Resources())
    for name, candidate in config.candidates.items():
        for step in ("train", "predict", "explain"):
            needs[f"{step} {name}"] = getattr(candidate.resources, step)
    return needs


def _accelerators(config: RunConfig) -> list[GpuResources]:
    """Return one request for each combination of accelerator and node selector: the one with the most accelerators."""
    needs = [config.cluster.champion, config.cluster.collect, config.cluster.inspect]
    for candidate in config.candidates.values():
        needs += [candidate.resources.train, candidate.resources.predict, candidate.resources.explain]

    largest: dict[tuple, GpuResources] = {}
    for need in sorted(needs, key=lambda need: need.accelerators):
        if need.accelerators:
            kind = (need.accelerator, *sorted(need.node_selector.items()))
            largest[kind] = need
    return list(largest.values())
