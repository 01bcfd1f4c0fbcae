"""Read what the tests check in a store and in the folder of a source."""

from pathlib import Path

from components.ingest.source_records import LAST_USE
from components.shared.data.versions import read_version
from components.shared.services.store import Store


def kept(store: Store, digest: str, name: str) -> bytes:
    """Return the content of a file of a data set version."""
    version = read_version(store, digest)
    assert version is not None
    return store.get_bytes(version.key(name))


def keys(store: Store, prefix: str = "", ending: str = "") -> list[str]:
    """Return the keys of the objects under a prefix that have this ending."""
    return [key for key, _ in store.list(prefix) if key.endswith(ending)]


def written(store: Store) -> list[str]:
    """Return the keys of a store's objects, without the notes that say when a source was last used."""
    return [key for key in keys(store) if not key.endswith(LAST_USE)]


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return the contents of the JPEG files under a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}
