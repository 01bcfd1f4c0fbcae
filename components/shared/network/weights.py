"""Where a network's first weights come from: timm's hub, a file, an object in S3, or nowhere ("none").

An object in S3 stands beside its checksum, `KEY.sha256`, as `crack-pipeline mirror-weights` writes both. A file of the
hub is named by its repository until it is fetched, and by its sha256 from then on.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.services.store import MissingObjectError, Store

HUB_SECONDS = 5  # without an answer in this time, the hub counts as out of reach
WAYS_OUT = (
    'Without it, set weights to the path of a weights file, to an S3 object that "crack-pipeline mirror-weights" '
    'copied, or to "none" to train from scratch'
)


def check_weights(architecture: str, weights: str) -> None:
    """Refuse a source that cannot be, without opening a connection.

    Raises:
        InputError: The file does not exist, or timm publishes no weights for the architecture.
    """
    if weights == "hub":
        hub_place(architecture)
    elif weights.startswith("s3://"):
        _split(weights)
    elif weights != "none" and not Path(weights).is_file():
        raise InputError(
            f'weights file "{weights}" does not exist; give a file, "hub", s3://BUCKET/KEY, or "none" to train from '
            "scratch"
        )


def known_digest(weights: str) -> str:
    """Return the sha256 of a source, as far as it is known without fetching it: not of "hub", nor of "none".

    Raises:
        InputError: An object has no checksum beside it, or the store cannot be read.
    """
    if weights.startswith("s3://"):
        store, key = _split(weights)
        try:
            text = Store(store).get_bytes(f"{key}.sha256").decode("ascii", "replace")
        except MissingObjectError as error:
            raise InputError(
                f'{weights} has no checksum beside it; copy weights with "crack-pipeline mirror-weights", or put the '
                f"output of sha256sum at {weights}.sha256"
            ) from error
        found = re.match(r"[0-9a-f]{64}\b", text)
        if not found:
            raise InputError(f"{weights}.sha256 does not begin with a sha256 in hexadecimal: {text[:80]!r}")
        return found[0]
    return "" if weights in ("hub", "none") else file_digest(weights)


@contextmanager
def weights_file(architecture: str, weights: str, digest: str) -> Iterator[Path]:
    """Give a source's file for as long as it is needed.

    Args:
        architecture: timm name.
        weights: The source; not "none".
        digest: The sha256 that the file must have; "" where none is known.

    Raises:
        InputError: The source is out of reach, or its file is not the one wanted.
    """
    if weights.startswith("s3://"):
        store, key = _split(weights)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / Path(key).name
            Store(store).get_file(key, path, digest or known_digest(weights))
            yield path
        return
    path = from_hub(architecture) if weights == "hub" else Path(weights)
    if digest and (found := file_digest(path)) != digest:
        raise InputError(f'weights "{weights}" of {architecture} have sha256 {found}, not {digest}: they have changed')
    yield path


def hub_place(architecture: str) -> tuple[str, str]:
    """Return the hub's repository and file name of an architecture's weights.

    Raises:
        InputError: timm publishes none.
    """
    import timm

    known = timm.get_pretrained_cfg(architecture)
    if known is None or not known.hf_hub_id:
        raise InputError(f'architecture "{architecture}" has no weights on the hub. {WAYS_OUT}')
    return known.hf_hub_id, known.hf_hub_filename or "model.safetensors"


def from_hub(architecture: str) -> Path:
    """Return the hub's file from the local cache, fetched where it is not there.

    Raises:
        InputError: The hub cannot be reached or does not give the file.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repository, name = hub_place(architecture)
    cached = try_to_load_from_cache(repository, name)
    if isinstance(cached, str):
        return Path(cached)
    address = hf_hub_url(repository, name)
    try:
        get_hf_file_metadata(address, timeout=HUB_SECONDS)  # asked first: the download itself tries for 46 s
        return Path(hf_hub_download(repository, name))
    except Exception as error:  # errors of the hub's client, of its HTTP library, and of the system
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"the weights of {architecture} cannot be had from {address} ({cause}). {WAYS_OUT}") from error


def mirror(architecture: str, store: Store) -> str:
    """Copy an architecture's weights from the hub to the store, beside their checksum; return the object's URI.

    Raises:
        InputError: The hub or the store is out of reach.
    """
    repository, name = hub_place(architecture)
    path = from_hub(architecture)
    key = f"{repository.rsplit('/')[-1]}{Path(name).suffix}"
    store.put_file(key, path)
    store.put_bytes(f"{key}.sha256", f"{file_digest(path)}  {key}\n".encode())
    return f"{store.uri}/{key}"


def _split(uri: str) -> tuple[str, str]:
    found = re.fullmatch(r"(s3://[^/]+)/(.*[^/])", uri)
    if not found:
        raise InputError(f'weights are "{uri}"; an object in S3 looks like s3://BUCKET/KEY')
    return found[1], found[2]
