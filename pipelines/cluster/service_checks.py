"""Check the services that a run needs: Kubeflow Pipelines, S3, MLflow, the places of pretrained weights.

A check returns what it found. It raises `InputError` if a run would fail; the message says how to fix the problem. It
raises `WarnedError` if a run works but something should be changed. It raises `UnseenError` if this machine cannot
check.
"""

import re
import secrets
import tempfile
import uuid
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from pipelines.cluster.kubernetes_view import KFP_NAMESPACE, UnseenError

if TYPE_CHECKING:
    from components.shared.services.store import Store

SECURE_KFP = (2, 18, 1)
ADVISORIES = (
    "KFP before 2.18.1 has known security problems. In multi-user mode, users of other namespaces can read and "
    "change this run's metadata (GHSA-j53r-x5f5-j4hr) and reach a shared service for visualizations. Upgrade to "
    "2.18.1. Version 2.18.2 does not contain the fix of GHSA-j53r-x5f5-j4hr; if you use 2.18.2, block the routes to ML "
    "Metadata as its release notes describe"
)

# boto3 fetches an object of 8 MiB or more in parts, and SeaweedFS stores it in parts.
LARGE_OBJECT_BYTES = 20 * 2**20
SMALL_PART_BYTES = 8 * 2**20
# Characters that some servers decode twice, or sign in another way.
DIFFICULT_NAME = "a+b c ü"
# The step gate writes this character into a tag. A database without UTF-8 refuses it.
DIFFICULT_TAG = "✗"


class WarnedError(Exception):
    """The error if a run works, but something should be changed. The message says what."""


def check_kfp(api: KfpApi) -> str:
    """Check that KFP answers and can be used.

    Raises:
        KfpError: It cannot be used.
        WarnedError: It can be used, but its version has known security problems.
    """
    version = api.check()
    found = f"version {version} at {api.endpoint.url}, namespace {api.namespace or KFP_NAMESPACE}"

    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < SECURE_KFP:
        raise WarnedError(f"{found}. {ADVISORIES}")
    return found


def check_store(uri: str) -> str:
    """Write, read and delete objects under the storage root: a small one, a large one, one with a difficult name.

    The large object is uploaded whole and in parts, because some servers return only one of the two correctly.
    """
    from components.shared.services.store import Store

    store = Store(uri)
    folder = f"doctor/{secrets.token_hex(8)}"
    keys = [f"{folder}/{name}" for name in ("small", DIFFICULT_NAME, "whole", "parts")]
    small, difficult, whole, parts = keys
    try:
        _check_small_object(store, small)
        _check_small_object(store, difficult)
        listed = [key for key, _ in store.list(f"{folder}/")]
        if difficult not in listed:
            raise InputError(
                f'{uri} lists the key "{difficult}" as {listed}; use an S3 server that keeps special characters'
            )

        with tempfile.TemporaryDirectory() as local:
            _check_large_object(store, whole, Path(local), None)
            _check_large_object(store, parts, Path(local), SMALL_PART_BYTES)
    finally:
        store.delete(keys)
    size = LARGE_OBJECT_BYTES // 2**20
    return f"{uri}: written, read, deleted; also {size} MiB whole and in parts, and a key with special characters"


def _check_small_object(store: "Store", key: str) -> None:
    content = secrets.token_bytes(16)
    store.put_bytes(key, content)
    if store.get_bytes(key) != content:
        raise InputError(f"{store.uri}/{key} does not contain the bytes that we wrote to it; check the S3 server")


def _check_large_object(store: "Store", key: str, folder: Path, part_bytes: int | None) -> None:
    """Upload a large object and read it back as the steps do, by its digest.

    Args:
        store: The storage root.
        key: The object.
        folder: For the local files.
        part_bytes: Upload it in parts of this size; None uploads it whole.
    """
    content = secrets.token_bytes(LARGE_OBJECT_BYTES)
    source = folder / "source"
    source.write_bytes(content)
    store.put_file(key, source, part_bytes)
    store.get_file(key, folder / "back", sha256(content).hexdigest())


def check_mlflow(model: str, experiment: str) -> str:
    """Check that MLflow answers and keeps any character, and return the registered model's aliases."""
    from components.shared.services import mlflow_runs
    from components.shared.services.mlflow_failures import require_answer

    require_answer(mlflow_runs.client())
    _check_tags(experiment)

    found = mlflow_runs.client().search_registered_models(f"name = '{model}'")
    if not found:
        return f'it answers; no model "{model}" yet, the first run that passes the gate registers it'

    aliases = found[0].aliases
    named = ", ".join(f"{alias} is version {version}" for alias, version in sorted(aliases.items()))
    return f'it answers; "{model}": {named or "no alias yet"}'


def _check_tags(experiment: str) -> None:
    """Write a run with a tag outside ASCII, read it back and delete it.

    It is in the pipeline's experiment if that exists, because an account may have rights only there.
    """
    from mlflow.exceptions import MlflowException

    from components.shared.services import mlflow_runs

    client = mlflow_runs.client()
    found = client.get_experiment_by_name(experiment)
    temporary = "" if found else client.create_experiment(f"doctor-{uuid.uuid4().hex}")
    place = found.experiment_id if found else temporary
    try:
        run = client.create_run(place, tags={"crack.doctor": "made by doctor"}).info.run_id
        try:
            client.set_tag(run, "crack.doctor", DIFFICULT_TAG)
            tag = client.get_run(run).data.tags["crack.doctor"]
        finally:
            client.delete_run(run)
    except MlflowException as error:
        raise InputError(
            f'MLflow could not keep a run with "{DIFFICULT_TAG}" in a tag: {error}; check the account\'s rights, and '
            "that MLflow's database has the encoding UTF8 (PostgreSQL: CREATE DATABASE … ENCODING 'UTF8')"
        ) from error
    finally:
        if temporary:
            client.delete_experiment(temporary)

    if tag != DIFFICULT_TAG:
        raise InputError(f'MLflow stored "{DIFFICULT_TAG}" in a tag as "{tag}"; give its database the encoding UTF8')


def check_weights(architecture: str, source: str) -> str:
    """Check that a candidate's initial weights can be loaded, as far as this machine can see."""
    if source == "none":
        return "none: trained from scratch"
    from components.shared.network.weights import HUB_SECONDS, hub_place, known_digest

    if source.startswith("s3://"):
        from components.shared.services.store import Store

        root, _, key = source.rpartition("/")
        if not Store(root).exists(key):
            raise InputError(f"{source} does not exist; `crack-pipeline mirror-weights` copies the weights there")
        return f"{source} exists, sha256 {known_digest(source)[:12]}…"

    if source != "hub":
        raise UnseenError(f"{source} must exist inside the pods, and this machine cannot look there")

    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    address = hf_hub_url(*hub_place(architecture))
    try:
        get_hf_file_metadata(address, timeout=HUB_SECONDS)
    except Exception as error:  # from the hub's client, its HTTP library or the operating system
        raise InputError(
            f"{address} cannot be reached ({type(error).__name__}); copy the weights to S3 with "
            "`crack-pipeline mirror-weights`, and set weights to that place"
        ) from error
    return f"{address} answers this machine"
