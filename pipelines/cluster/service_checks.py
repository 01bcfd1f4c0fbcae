"""Check the services that a run needs: Kubeflow Pipelines, S3, and the places of pretrained weights.

A check returns a text about what it found. It raises `InputError` if a run would fail, and the message says how to fix
the problem. It raises `WarnedError` if a run works but something should be changed. It raises `UnseenError` if this
machine cannot do the check.
"""

import re
import secrets
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from pipelines.cluster.kubernetes_view import KFP_NAMESPACE, UnseenError, WarnedError

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
# Some servers decode these characters twice, or compute another signature for them.
DIFFICULT_NAME = "a+b c ü"


def check_kfp(api: KfpApi) -> str:
    """Check that KFP answers and can be used.

    Raises:
        KfpError: KFP cannot be used.
        WarnedError: KFP can be used, but its version has known security problems.
    """
    version = api.check()
    found = f"version {version} at {api.endpoint.url}, namespace {api.namespace or KFP_NAMESPACE}"

    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < SECURE_KFP:
        raise WarnedError(f"{found}. {ADVISORIES}")
    return found


def check_store(uri: str) -> str:
    """Write, read and delete objects in the store: small, large, and with special characters in the name.

    The large object is uploaded twice, whole and in parts, because some servers handle only one of these uploads
    correctly.
    """
    from components.shared.services.store import Store

    store = Store(uri)
    folder = f"doctor/{secrets.token_hex(8)}"
    keys = [f"{folder}/{name}" for name in ("small", DIFFICULT_NAME, "whole", "parts")]
    small, difficult, whole, parts = keys
    _require_writing(store, small)
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


def _require_writing(store: "Store", key: str) -> None:
    """Write an empty object. If this fails, raise an error that says whether the store can at least be read."""
    try:
        store.put_bytes(key, b"")
    except InputError as error:
        store.list(f"{key}/")  # raises its own error if the store cannot be read either
        raise InputError(
            f"{store.uri} can be read but not written: {error}; give this access key the rights to write and delete "
            "objects"
        ) from error


def _check_small_object(store: "Store", key: str) -> None:
    content = secrets.token_bytes(16)
    store.put_bytes(key, content)
    if store.get_bytes(key) != content:
        raise InputError(f"{store.uri}/{key} does not contain the bytes that we wrote to it; check the S3 server")


def _check_large_object(store: "Store", key: str, folder: Path, part_bytes: int | None) -> None:
    """Upload a large object, read it back as the steps do, and verify its digest.

    Args:
        store: The storage root.
        key: The object.
        folder: Folder for the local files.
        part_bytes: Size of the parts in which the object is uploaded. None: it is uploaded whole.
    """
    content = secrets.token_bytes(LARGE_OBJECT_BYTES)
    source = folder / "source"
    source.write_bytes(content)
    store.put_file(key, source, part_bytes)
    store.get_file(key, folder / "back", sha256(content).hexdigest())


def check_weights(architecture: str, source: str) -> str:
    """Check that a candidate's initial weights exist, as far as this machine can see."""
    if source == "none":
        return "none: trained from scratch"
    if source != "hub" and not source.startswith("s3://"):
        raise UnseenError(f"{source} must exist inside the pods, and this machine cannot look there")

    from components.shared.network.weights import reach_weights

    return reach_weights(architecture, source)
