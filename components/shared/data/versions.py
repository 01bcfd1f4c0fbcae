"""Data set versions: in the store, and fetched into the cache that the steps on a machine share.

A version in the store is the folder `datasets/DIGEST/`. dataset.json, written last, makes it visible: it lists the
shards, `shards/SHA256.tar`, and says where the other files lie, `datasets/DIGEST/files/NAME/`, named by their content.
Two who write the same version at once may have come to it by different ways, with images in other shards; what the one
wrote is then never read together with what the other did.
"""

import errno
import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from components.shared.config import StepConfig
from components.shared.data.cache import make_room, use
from components.shared.data.manifest import Manifest
from components.shared.data.shards import SHARD_BYTES, Member, Place, write_shards
from components.shared.errors import InputError
from components.shared.hashing import digest, file_digest
from components.shared.services.s3_client import THREADS
from components.shared.services.store import MissingObjectError, Store

COMMIT = "dataset.json"


@dataclass(frozen=True)
class Version:
    """What dataset.json says of a version.

    Attributes:
        digest: Its name, that of its manifest.
        files: Name of the folder of its files.
        shards: Size in bytes by name.
    """

    digest: str
    files: str
    shards: dict[str, int]

    def key(self, name: str) -> str:
        """The object that holds one of its files."""
        return f"datasets/{self.digest}/files/{self.files}/{name}"


def put_images(
    store: Store, members: Iterable[Member], folder: str | Path, limit: int = SHARD_BYTES
) -> tuple[list[Place], dict[str, int]]:
    """Pack images into shards and upload each while the next ones are packed; a version makes them visible.

    Args:
        store: Storage root.
        members: As `write_shards` takes them, and so is the limit.
        folder: For shards on their way, a few at a time.

    Returns:
        One place for each image, in order; and the sizes in bytes of the shards by name.
    """
    puts: dict[str, Future[int]] = {}

    def put(path: Path) -> int:
        store.put_file(f"shards/{path.name}", path)
        size = path.stat().st_size
        path.unlink()
        return size

    def written(path: Path) -> None:
        puts[path.name] = pool.submit(put, path)
        under_way = [each for each in puts.values() if not each.done()]
        if len(under_way) == THREADS:
            wait(under_way, return_when=FIRST_COMPLETED)
        for each in puts.values():
            if each.done():
                each.result()  # packing on would be in vain where one failed

    with ThreadPoolExecutor(THREADS) as pool:
        places = write_shards(members, folder, limit, written)
    return places, {name: each.result() for name, each in puts.items()}


def commit(store: Store, name: str, folder: str | Path, shards: Mapping[str, int]) -> Version:
    """Upload the files of a folder as a data set version; it exists from the moment its last object is there.

    Where another writer was faster the version stays as it is: images may lie in other shards there.

    Args:
        store: Storage root.
        name: Digest of the manifest.
        folder: Holds manifest.parquet and the other files; subfolders are left out.
        shards: Size in bytes by name of all its shards, which are in the store.

    Returns:
        The version as it is in the store now, be it this one or another writer's.
    """
    found = whole_version(store, name)
    if found:
        return found
    files = [path for path in sorted(Path(folder).iterdir()) if path.is_file()]
    content = digest({path.name: file_digest(path) for path in files})
    version = Version(name, content, dict(sorted(shards.items())))
    store.put_files({version.key(path.name): path for path in files})
    store.put_bytes(f"datasets/{name}/{COMMIT}", json.dumps(asdict(version), indent=1).encode())
    return version


def read_version(store: Store, name: str) -> Version | None:
    """What the store says of a version; None where it has none of this digest.

    Raises:
        InputError: Another release of this project wrote it, in another form.
    """
    try:
        told = json.loads(store.get_bytes(f"datasets/{name}/{COMMIT}"))
    except MissingObjectError:
        return None
    if told.keys() != Version.__annotations__.keys():
        raise InputError(
            f"{store.uri}/datasets/{name} was written by another release of this project; delete it, or choose another "
            "store"
        )
    return Version(**told)


def whole_version(store: Store, name: str) -> Version | None:
    """As `read_version`, but None too where a shard of the version is missing."""
    version = read_version(store, name)
    return version if version and _sizes(store, version.shards) == version.shards else None


def _sizes(store: Store, shards: Iterable[str]) -> dict[str, int]:
    return {key.removeprefix("shards/"): size for key, size in store.sizes(f"shards/{name}" for name in shards).items()}


def fetch_for_step(config: StepConfig, manifest: Manifest) -> Path:
    """Bring a data set version from a step's store into its cache; as `fetch`."""
    return fetch(Store(config.store), manifest, config.cache, config.cache_size)


def fetch(store: Store, manifest: Manifest, cache: str | Path, limit: int | None = None) -> Path:
    """Bring the shards of a data set version into the local cache, once for all processes that use the cache.

    Args:
        store: Storage root.
        manifest: The version; its rows say which shards are needed.
        cache: Folder shared by steps; the version lands in `cache/DIGEST`, and stays while this process lives.
        limit: Largest size of the cache, bytes; versions that no process uses give way to this one. None: no limit.

    Returns:
        Folder for `ShardReader`. Every shard in it had the sha256 that its name tells when it was fetched.

    Raises:
        InputError: The store has no such version, or a shard of it is damaged; the version is larger than the limit, or
            the disk is full.
    """
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / manifest.digest
    with _locked(cache / f".{manifest.digest}.lock"):
        use(target)  # before the look, so that nobody removes what was seen
        missing = _missing(manifest, target / "shards")
        if missing:
            needed = _needed(store, manifest)
            if limit is not None:
                make_room(target, needed, limit)
            _bring(store, missing, target / "shards", needed)
    return target


def _missing(manifest: Manifest, folder: Path) -> list[str]:
    """Shards that are not there, or end before the last image in them; they appear whole, having been verified."""
    rows = manifest.table
    places = pd.concat([rows["offset"] + rows["size"], rows["mask_offset"] + rows["mask_size"]], axis=1)
    ends = places.max(axis=1).groupby(rows["shard"]).max()
    files = {name: folder / name for name in ends.index}
    return [name for name, path in files.items() if not path.is_file() or path.stat().st_size < ends[name]]


def _needed(store: Store, manifest: Manifest) -> int:
    """Bytes of all shards of a version."""
    names = manifest.table["shard"].unique().tolist()
    there = _sizes(store, names)
    lost = [name for name in names if name not in there]
    if lost:
        raise InputError(
            f"the store {store.uri} has no data set version {manifest.digest}, or not the whole of it ({len(lost)} of "
            f"{len(names)} shards are missing): run ingest first"
        )
    return sum(there[name] for name in names)


def _bring(store: Store, shards: list[str], folder: Path, needed: int) -> None:
    """Fetch and verify shards; none of them stays when that fails."""
    for rest in folder.glob(".*"):  # of a process that was killed: only the holder of the lock writes here
        rest.unlink()
    try:
        store.get_folder("shards", folder, {name: name.removesuffix(".tar") for name in shards})
    except (OSError, InputError) as error:
        for name in shards:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # others stay, where there are some
            folder.rmdir()
            folder.parent.rmdir()
        if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
            raise
        version, cache = folder.parent.name, folder.parents[1]
        raise InputError(
            f"the disk of the cache {cache} is full: the data set version {version} needs {needed} bytes, and "
            f"{shutil.disk_usage(cache).free} are free; make room, lower cache_size or choose another cache"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system lets go of it when the process ends, however it ends
        yield
