"""Find and fetch the weights that a network starts from. The sources are timm's hub, a file, or an object in S3.

The source "none" means random weights. An object in S3 has its checksum next to it in `KEY.sha256`. `crack-pipeline
mirror-weights` writes the object and the checksum. The sha256 of a hub file is known only after the download. Before
the download, the name of the hub's repository identifies the file.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.services.foreign import read_agreed
from components.shared.services.store import MissingObjectError, Store

# If the hub does not answer in this time, we treat it as unreachable.
HUB_SECONDS = 5
OTHER_SOURCES = (
    'Instead, set weights to the path of a weights file, to an S3 object that "crack-pipeline mirror-weights" '
    'copied, or to "none" to train from scratch'
)


class UnreachableWeightsError(InputError):
    """Weights that this machine cannot reach. Another machine, such as a pod, may reach them."""


class HubPlace(NamedTuple):
    """The place of an architecture's weights on the hub: repository and file."""

    repository: str
    file: str


class S3Place(NamedTuple):
    """The place of weights in S3: s3://BUCKET and the key."""

    store: str
    key: str


def check_weights(architecture: str, weights: str) -> None:
    """Raise an error if a source of weights is clearly wrong. No connection is opened.

    Raises:
        UnreachableWeightsError: The file does not exist on this machine.
        InputError: The address of an S3 object is incomplete, or timm publishes no weights for the architecture.
    """
    if weights == "none":
        return
    if weights == "hub":
        hub_place(architecture)
    elif weights.startswith("s3://"):
        _s3_place(weights)
    elif not Path(weights).is_file():
        raise UnreachableWeightsError(
            f'weights file "{weights}" does not exist; give a file, "hub", s3://BUCKET/KEY, or "none" to train from '
            "scratch"
        )


def on_this_machine(architecture: str, weights: str) -> bool:
    """Return whether a network can be built without a connection, given the source of its weights."""
    if weights == "hub":
        return _cached(hub_place(architecture)) is not None
    return weights == "none" or (not weights.startswith("s3://") and Path(weights).is_file())


def reach_weights(architecture: str, weights: str) -> str:
    """Check that a source of weights exists. Nothing large is downloaded.

    Returns:
        What was found, in words.

    Raises:
        UnreachableWeightsError: This machine cannot reach the hub or the store, or it does not have the file.
        InputError: The hub or the store answers, but it does not have the weights.
    """
    check_weights(architecture, weights)
    if weights == "hub":
        return f"{_ask_hub(architecture)} answers this machine"
    if not weights.startswith("s3://"):
        return f"{weights} exists"

    place = _s3_place(weights)
    try:
        exists = Store(place.store).exists(place.key)
    except InputError as error:
        raise UnreachableWeightsError(f"{weights} cannot be reached: {error}") from error
    if not exists:
        raise InputError(f'{weights} does not exist; "crack-pipeline mirror-weights" copies the weights there')
    return f"{weights} exists, sha256 {known_digest(weights)[:12]}…"


def known_digest(weights: str) -> str:
    """Return the sha256 of a source if it is known without a download. Return "" for "hub" and "none".

    Raises:
        InputError: An object in S3 has no checksum next to it, or the store cannot be read.
    """
    if weights in ("hub", "none"):
        return ""
    if not weights.startswith("s3://"):
        return file_digest(weights)

    place = _s3_place(weights)
    try:
        text = read_agreed(Store(place.store), f"{place.key}.sha256").decode("ascii", "replace")
    except MissingObjectError as error:
        raise InputError(
            f'{weights} has no checksum next to it; copy weights with "crack-pipeline mirror-weights", or upload the '
            f"output of sha256sum to {weights}.sha256"
        ) from error

    found = re.match(r"[0-9a-f]{64}\b", text)
    if not found:
        raise InputError(
            f"{weights}.sha256 does not begin with a sha256 in hexadecimal: {text[:80]!r}; replace it with the "
            "output of sha256sum"
        )
    return found[0]


@contextmanager
def weights_file(architecture: str, weights: str, digest: str) -> Iterator[Path]:
    """Yield the path of a file with the weights. The file exists inside the `with` block.

    Args:
        architecture: Name in timm.
        weights: The source of the weights: "hub", a file's path or s3://BUCKET/KEY.
        digest: The sha256 that the file must have; "" if it is not known.

    Raises:
        InputError: The source cannot be reached, or its file has another sha256.
    """
    if weights.startswith("s3://"):
        place = _s3_place(weights)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / Path(place.key).name
            Store(place.store).get_file(place.key, path, digest or known_digest(weights))
            yield path
        return

    path = from_hub(architecture) if weights == "hub" else Path(weights)
    if digest and (found := file_digest(path)) != digest:
        raise InputError(
            f'weights "{weights}" of {architecture} have sha256 {found}, not {digest}: the file has changed; '
            "restore it, or start a new run"
        )
    yield path


def hub_place(architecture: str) -> HubPlace:
    """Return the place of an architecture's weights on the hub.

    Raises:
        InputError: timm publishes no weights for the architecture.
    """
    import timm

    published = timm.get_pretrained_cfg(architecture)
    if published is None or not published.hf_hub_id:
        raise InputError(f'architecture "{architecture}" has no weights on the hub. {OTHER_SOURCES}')
    return HubPlace(published.hf_hub_id, published.hf_hub_filename or "model.safetensors")


def from_hub(architecture: str) -> Path:
    """Return the path of a hub file in the local cache. If the file is not in the cache, download it.

    Raises:
        InputError: The hub cannot be reached or refuses the file.
    """
    from huggingface_hub import hf_hub_download

    place = hub_place(architecture)
    cached = _cached(place)
    if cached is not None:
        return cached

    # The download itself would try to connect for 46 s. This request fails early if the hub cannot be reached.
    url = _ask_hub(architecture)
    try:
        return Path(hf_hub_download(place.repository, place.file))
    except Exception as error:  # the hub's client, its HTTP library and the system all raise their own errors
        raise InputError(
            f"could not download the weights of {architecture} from {url} ({_cause(error)}); check the connection. "
            f"{OTHER_SOURCES}"
        ) from error


def _cached(place: HubPlace) -> Path | None:
    """Return the path of a hub file in the local cache. Return None if the file is not there."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(place.repository, place.file)
    return Path(cached) if isinstance(cached, str) else None


def _ask_hub(architecture: str) -> str:
    """Ask the hub whether it has the weights of an architecture. Return the address of the file.

    Raises:
        UnreachableWeightsError: The hub does not answer, or it refuses the request.
        InputError: The hub does not have the file.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    url = hf_hub_url(*hub_place(architecture))
    try:
        get_hf_file_metadata(url, timeout=HUB_SECONDS)
    except HfHubHTTPError as error:
        if error.response.status_code == HTTPStatus.NOT_FOUND:
            raise InputError(
                f"the hub does not have the weights of {architecture} at {url}. {OTHER_SOURCES}"
            ) from error
        raise _unreachable(architecture, url, error) from error
    except Exception as error:  # the hub's client, its HTTP library and the system all raise their own errors
        raise _unreachable(architecture, url, error) from error
    return url


def _unreachable(architecture: str, url: str, error: Exception) -> UnreachableWeightsError:
    return UnreachableWeightsError(
        f"the weights of {architecture} cannot be fetched: {url} cannot be reached ({_cause(error)}); "
        "check the connection. "
        f"{OTHER_SOURCES}"
    )


def _cause(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def mirror(architecture: str, store: Store) -> str:
    """Copy an architecture's weights and their checksum from the hub to the store, and return the object's URI.

    Raises:
        InputError: The hub or the store cannot be reached.
    """
    place = hub_place(architecture)
    path = from_hub(architecture)

    name = place.repository.rsplit("/")[-1]
    key = f"{name}{Path(place.file).suffix}"
    store.put_file(key, path)
    store.put_bytes(f"{key}.sha256", f"{file_digest(path)}  {key}\n".encode())
    return f"{store.uri}/{key}"


def _s3_place(uri: str) -> S3Place:
    found = re.fullmatch(r"(s3://[^/]+)/(.*[^/])", uri)
    if not found:
        raise InputError(f'weights is "{uri}", which does not name an object in S3; write s3://BUCKET/KEY')
    return S3Place(found[1], found[2])
