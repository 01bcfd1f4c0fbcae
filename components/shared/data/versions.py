"""Write data set versions to the store, and fetch them into the cache that the steps on a machine share.

In the store, a data set version is the folder `datasets/DIGEST/`. Its images are in shards, `shards/SHA256.tar`. The
file dataset.json is written last and makes the data set version visible. It lists the shards with their sizes, and the
other files of the data set version with their sha256. The other files are in the folder `datasets/DIGEST/files/FILES/`.
FILES is a digest of the names and contents of the other files.

Two concurrent writers of the same data set version can pack the images into different shards. Each writer then has its
own folder of files, so a reader never mixes the files of two writers.
"""

import errno
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
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
from components.shared.services.records import read_record, write_record
from components.shared.services.s3_client import THREADS
from components.shared.services.store import DamagedObjectError, MissingObjectError, Store

COMMIT = "dataset.json"
MANIFEST = "manifest.parquet"
WAY_OUT_OF_DAMAGE = (
    "ingest the same data again, which writes the object again, or restore the object from a backup of the store"
)


@dataclass(frozen=True)
class Version:
    """A data set version in the store, as its file dataset.json describes it.

    Attributes:
        digest: The name of the data set version, which is the digest of its manifest.
        files: Name of each file -> sha256 of the file.
        shards: Name of each shard -> size in bytes.
    """

    digest: str
    files: dict[str, str]
    shards: dict[str, int]

    def key(self, name: str) -> str:
        """Return the key of the object that contains the file `name` of this data set version."""
        return f"datasets/{self.digest}/files/{digest(self.files)}/{name}"

    def read(self, store: Store, name: str) -> bytes:
        """Return the content of the file `name` of this data set version.

        Raises:
            MissingObjectError: The version was written without this file, or the store has lost it.
            DamagedObjectError: The content of the file is not the content that was written.
        """
        if name not in self.files:
            raise MissingObjectError(f"the data set version {self.digest} has no {name}; run ingest again")
        return store.get_bytes(self.key(name), self.files[name])


def put_images(
    store: Store, members: Iterable[Member], folder: str | Path, limit: int = SHARD_BYTES
) -> tuple[list[Place], dict[str, int]]:
    """Pack images into shards, and upload each shard while the next shards are packed.

    The images become visible when `commit` is called.

    Args:
        store: Storage root.
        members: The images in the order of packing. They are read one by one.
        folder: Local folder for the few shards that are not uploaded yet.
        limit: A shard is closed when it reaches this size in bytes.

    Returns:
        One `Place` for each image, in order, and a dict: name of each shard -> size in bytes.
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
    """Upload the files of a folder as a data set version.

    The file dataset.json is written last. As soon as this file exists, the data set version exists. If another writer
    was faster, the existing data set version is not changed. The shards of the existing version can differ from
    `shards`.

    Args:
        store: Storage root.
        name: Digest of the manifest.
        folder: Local folder with manifest.parquet and the other files. Subfolders are ignored.
        shards: Name of each shard -> size in bytes. The shards must already be in the store.

    Returns:
        The data set version that is now in the store, written by this writer or by another writer.
    """
    existing = whole_version(store, name)
    if existing:
        return existing

    files = [path for path in sorted(Path(folder).iterdir()) if path.is_file()]
    digests = {path.name: file_digest(path) for path in files}
    version = Version(name, digests, dict(sorted(shards.items())))

    store.put_files({version.key(path.name): path for path in files})
    _put_version(store, version)
    return version


def _put_version(store: Store, version: Version) -> None:
    write_record(store, _commit_key(version.digest), version)


def read_version(store: Store, name: str) -> Version | None:
    """Read a data set version. Return None if the store has no version with this digest.

    Raises:
        DamagedObjectError: dataset.json is damaged, or another release of this project wrote it.
    """
    try:
        return read_record(store, _commit_key(name), Version, WAY_OUT_OF_DAMAGE)
    except MissingObjectError:
        return None


def whole_version(store: Store, name: str) -> Version | None:
    """Read a data set version. Return None if the store does not have it, or if one of its shards is missing.

    If dataset.json is damaged, it is written again from the other files of the version.

    Raises:
        DamagedObjectError: dataset.json is damaged, and it cannot be computed from the other files of the version.
    """
    try:
        version = read_version(store, name)
    except DamagedObjectError:
        version = _from_its_files(store, name)
        if version is None:
            raise
        log.warning("%s/%s was damaged and is written again", store.uri, _commit_key(name))
        _put_version(store, version)

    if version and _shard_sizes(store, version.shards) == version.shards:
        return version
    return None


def _from_its_files(store: Store, name: str) -> Version | None:
    """Compute the content of dataset.json from the version's other files. Return None if a file is lost or damaged."""
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
            return Version(name, digests, dict(sorted(shards.items())))
    return None


def read_images(store: Store, rows: pd.DataFrame) -> list[bytes]:
    """Read the image files of a few tiles from the store, one by one. For many tiles, use `fetch`.

    Args:
        store: Storage root.
        rows: Table with the columns shard, offset, size and sample_id of a manifest.

    Returns:
        The files' bytes, in the order of the rows.

    Raises:
        MissingObjectError: The store has lost a shard.
        DamagedObjectError: The bytes of a tile are not the bytes that were stored.
    """
    images = []
    for row in rows.itertuples():
        images.append(store.get_part(shard_key(row.shard), int(row.offset), int(row.size), row.sample_id))
    return images


def version_names(store: Store) -> list[str]:
    """Return the names (digests) of all data set versions in the store, the newest first."""
    commits = [found for found in store.objects("datasets/") if found.key.endswith(f"/{COMMIT}")]
    commits.sort(key=lambda found: found.changed, reverse=True)
    return [found.key.split("/")[1] for found in commits]


def shard_key(name: str) -> str:
    """Return the key of the object that contains a shard."""
    return f"shards/{name}"


def _commit_key(name: str) -> str:
    return f"datasets/{name}/{COMMIT}"


def _shard_sizes(store: Store, names: Iterable[str]) -> dict[str, int]:
    """Return a dict of the shards that exist: name -> size in bytes."""
    by_name = {}
    for key, size in store.sizes(map(shard_key, names)).items():
        by_name[key.removeprefix(shard_key(""))] = size
    return by_name


def fetch_for_step(config: StepConfig, manifest: Manifest) -> Path:
    """Download a data set version from a step's store into the step's cache. See `fetch`."""
    return fetch(Store(config.store), manifest, config.cache, config.cache_size)


def fetch(store: Store, manifest: Manifest, cache: str | Path, limit: int | None = None) -> Path:
    """Download the shards of a data set version into the local cache. All processes with this cache share the files.

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
        InputError: The store lacks a shard, or a shard is damaged. Or the data set version is larger than the limit, or
            the disk is full.
    """
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / manifest.digest

    with FileLock(cache / f".{manifest.digest}.lock"):
        # We mark the data set version as in use before we look for its shards. Otherwise, another process could remove
        # shards that we have found.
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
            f"{manifest.digest}; restore the shards from a backup of the store, or run the step ingest again with the "
            "same data"
        )
    return sum(sizes.values())


def _download(store: Store, shards: list[str], folder: Path, needed: int) -> None:
    """Download shards into a folder, and verify them. If one of the downloads fails, remove all of these shards."""
    # Remove partial files of a killed process. Only the process that holds the lock writes to this folder.
    for partial in folder.glob(".*"):
        partial.unlink()

    digests = {name: name.removesuffix(".tar") for name in shards}
    try:
        store.get_folder("shards", folder, digests)
    except (OSError, InputError) as error:
        for name in shards:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # if the folder contains other shards, it stays
            folder.rmdir()
            folder.parent.rmdir()

        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise _disk_full(folder.parent, needed) from error
        raise


def _disk_full(version: Path, needed: int) -> InputError:
    cache = version.parent
    return InputError(
        f"the disk of the cache {cache} is full: the data set version {version.name} needs {needed} bytes, and "
        f"{shutil.disk_usage(cache).free} bytes are free; free some space, lower cache_size, or set cache to another "
        "folder"
    )
