"""Write data set versions to the store, and fetch them into the cache that the steps on a machine share.

In the store, a data set version is the folder `datasets/DIGEST/`. Its images are in shards, `shards/SHA256.tar`. Its
file dataset.json is written last and makes the version visible. This file lists the shards and names the folder of the
other files, `datasets/DIGEST/files/NAME/`. NAME is the digest of their content.

Two concurrent writers of the same data set version can pack the images into different shards. Their files are kept in
separate folders, so a reader never mixes the two.
"""

import errno
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
from filelock import FileLock

from components.shared.config import StepConfig
from components.shared.data.cache import make_room, use
from components.shared.data.manifest import Manifest
from components.shared.data.shards import SHARD_BYTES, Member, Place, write_shards
from components.shared.errors import InputError
from components.shared.events import log
from components.shared.hashing import bytes_digest, digest, file_digest
from components.shared.services.records import read_record
from components.shared.services.s3_client import THREADS
from components.shared.services.store import DamagedObjectError, MissingObjectError, Store

COMMIT = "dataset.json"
MANIFEST = "manifest.parquet"
WAY_OUT_OF_DAMAGE = "ingest its sources again, which makes the object again; or restore it from a backup of the store"


@dataclass(frozen=True)
class Version:
    """A data set version in the store: the content of its dataset.json.

    Attributes:
        digest: The version's name, which is the digest of its manifest.
        files: Name of the folder of its files.
        shards: Size in bytes of each shard, by the shard's name.
    """

    digest: str
    files: str
    shards: dict[str, int]

    def key(self, name: str) -> str:
        """Return the key of the object that holds the file `name` of this data set version."""
        return f"datasets/{self.digest}/files/{self.files}/{name}"


def put_images(
    store: Store, members: Iterable[Member], folder: str | Path, limit: int = SHARD_BYTES
) -> tuple[list[Place], dict[str, int]]:
    """Pack images into shards. Upload each shard while the next shards are packed. `commit` then makes them visible.

    Args:
        store: Storage root.
        members: Images, as for `write_shards`.
        folder: Local folder for the few shards that are not uploaded yet.
        limit: A shard is closed when it reaches this size in bytes.

    Returns:
        One place for each image, in order; and the size in bytes of each shard, by the shard's name.
    """
    uploads: dict[str, Future[int]] = {}

    def upload(path: Path) -> int:
        store.put_file(shard_key(path.name), path)
        size = path.stat().st_size
        path.unlink()
        return size

    def written(path: Path) -> None:
        uploads[path.name] = pool.submit(upload, path)
        running = [each for each in uploads.values() if not each.done()]
        if len(running) == THREADS:
            wait(running, return_when=FIRST_COMPLETED)

        # If an upload failed, its error ends the packing here.
        for each in uploads.values():
            if each.done():
                each.result()

    with ThreadPoolExecutor(THREADS) as pool:
        places = write_shards(members, folder, limit, written)
    return places, {name: each.result() for name, each in uploads.items()}


def commit(store: Store, name: str, folder: str | Path, shards: Mapping[str, int]) -> Version:
    """Upload the files of a folder as a data set version. It exists as soon as its last object, dataset.json, exists.

    If another writer was faster, the existing version is not changed. Its images can be in different shards.

    Args:
        store: Storage root.
        name: Digest of the manifest.
        folder: Local folder with manifest.parquet and the other files. Subfolders are ignored.
        shards: Size in bytes of each of its shards, by the shard's name. The shards must already be in the store.

    Returns:
        The version that is now in the store. It was made by this writer or by another writer.
    """
    existing = whole_version(store, name)
    if existing:
        return existing

    files = [path for path in sorted(Path(folder).iterdir()) if path.is_file()]
    digests = {path.name: file_digest(path) for path in files}
    version = Version(name, digest(digests), dict(sorted(shards.items())))

    store.put_files({version.key(path.name): path for path in files})
    _put_version(store, version)
    return version


def _put_version(store: Store, version: Version) -> None:
    store.put_bytes(_commit_key(version.digest), json.dumps(asdict(version), indent=1).encode())


def read_version(store: Store, name: str) -> Version | None:
    """Read a data set version; None if the store has no version with this digest.

    Raises:
        DamagedObjectError: dataset.json is damaged, or another release of this project wrote it.
    """
    try:
        return read_record(store, _commit_key(name), Version, WAY_OUT_OF_DAMAGE)
    except MissingObjectError:
        return None


def whole_version(store: Store, name: str) -> Version | None:
    """Read a data set version; None if the store does not have it, or if one of its shards is missing.

    If dataset.json is damaged, it is written again from the other files of the version.

    Raises:
        DamagedObjectError: dataset.json is damaged, and the other files of the version do not suffice to make it.
    """
    try:
        version = read_version(store, name)
    except DamagedObjectError:
        version = _from_its_files(store, name)
        if version is None:
            raise
        log.warning("%s/%s was damaged and is made again", store.uri, _commit_key(name))
        _put_version(store, version)

    if version and _shard_sizes(store, version.shards) == version.shards:
        return version
    return None


def _from_its_files(store: Store, name: str) -> Version | None:
    """Return what dataset.json must say about a version, from the version's other files; None if they are not whole."""
    folder = f"datasets/{name}/files/"
    contents: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
    for key, _ in store.list(folder):
        files, _, file = key.removeprefix(folder).partition("/")
        contents[files][file] = store.get_bytes(key)

    for files, content in contents.items():
        digests = {file: bytes_digest(data) for file, data in content.items()}
        if digest(digests) == files and MANIFEST in content:
            rows = pd.read_parquet(BytesIO(content[MANIFEST]), columns=["shard"])
            shards = _shard_sizes(store, rows["shard"].unique().tolist())
            return Version(name, files, dict(sorted(shards.items())))
    return None


def read_images(store: Store, rows: pd.DataFrame) -> list[bytes]:
    """Read the image files of a few tiles from the store, one by one. For many tiles, use `fetch`.

    Args:
        store: Storage root.
        rows: Table with the columns shard, offset and size of a manifest.

    Returns:
        The files' bytes, in the order of the rows.
    """
    return [store.get_part(shard_key(row.shard), int(row.offset), int(row.size)) for row in rows.itertuples()]


def shard_key(name: str) -> str:
    """Return the key of the object that holds a shard."""
    return f"shards/{name}"


def _commit_key(name: str) -> str:
    return f"datasets/{name}/{COMMIT}"


def _shard_sizes(store: Store, names: Iterable[str]) -> dict[str, int]:
    """Return the size in bytes of each shard that exists, by name."""
    by_name = {}
    for key, size in store.sizes(map(shard_key, names)).items():
        by_name[key.removeprefix(shard_key(""))] = size
    return by_name


def fetch_for_step(config: StepConfig, manifest: Manifest) -> Path:
    """Download a data set version from a step's store into its cache; see `fetch`."""
    return fetch(Store(config.store), manifest, config.cache, config.cache_size)


def fetch(store: Store, manifest: Manifest, cache: str | Path, limit: int | None = None) -> Path:
    """Download the shards of a data set version into the local cache, once for all processes that use the cache.

    Args:
        store: Storage root.
        manifest: The manifest of the data set version. Its rows name the shards that are needed.
        cache: Folder that steps share. The shards are written to `cache/DIGEST`. They are not removed while this
            process runs.
        limit: Largest size of the cache, bytes. Data set versions that no process uses are removed to make room. None
            means that there is no limit.

    Returns:
        Folder for `ShardReader`. The sha256 of every shard was verified when the shard was downloaded.

    Raises:
        InputError: The store does not have the data set version, or one of its shards is damaged. Or the version is
            larger than the limit, or the disk is full.
    """
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / manifest.digest

    with FileLock(cache / f".{manifest.digest}.lock"):
        # Mark the version as in use before the check, so that no other process removes shards that the check found.
        use(target)
        missing = _missing_shards(manifest, target / "shards")
        if missing:
            needed = _bytes_needed(store, manifest)
            if limit is not None:
                make_room(target, needed, limit)
            _download(store, missing, target / "shards", needed)
    return target


def _missing_shards(manifest: Manifest, folder: Path) -> list[str]:
    """Return the names of shards that are not in the folder, or that end before their last image."""
    rows = manifest.table
    image_ends = rows["offset"] + rows["size"]
    mask_ends = rows["mask_offset"] + rows["mask_size"]
    ends = pd.concat([image_ends, mask_ends], axis=1).max(axis=1).groupby(rows["shard"]).max()

    missing = []
    for name, end in ends.items():
        path = folder / str(name)
        if not path.is_file() or path.stat().st_size < end:
            missing.append(path.name)
    return missing


def _bytes_needed(store: Store, manifest: Manifest) -> int:
    """Return the size in bytes of all shards of a data set version. Raise `InputError` if the store lacks a shard."""
    names = manifest.table["shard"].unique().tolist()
    sizes = _shard_sizes(store, names)
    lost = len(names) - len(sizes)
    if lost:
        raise InputError(
            f"the store {store.uri} lacks {lost} of the {len(names)} shards of the data set version "
            f"{manifest.digest}; check the store, or run ingest again with the same data"
        )
    return sum(sizes.values())


def _download(store: Store, shards: list[str], folder: Path, needed: int) -> None:
    """Download and verify shards. If this fails, remove all of them."""
    # Remove partial files of a killed process. Only the process that holds the lock writes to this folder.
    for partial in folder.glob(".*"):
        partial.unlink()

    digests = {name: name.removesuffix(".tar") for name in shards}
    try:
        store.get_folder("shards", folder, digests)
    except (OSError, InputError) as error:
        for name in shards:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # a folder that holds other shards is not removed
            folder.rmdir()
            folder.parent.rmdir()

        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise _disk_full(folder.parent, needed) from error
        raise


def _disk_full(version: Path, needed: int) -> InputError:
    cache = version.parent
    return InputError(
        f"the disk of the cache {cache} is full: the data set version {version.name} needs {needed} bytes, and "
        f"{shutil.disk_usage(cache).free} bytes are free; free some space, lower cache_size or choose another cache"
    )
