"""What tests look at in a store and in a source's folder."""

from pathlib import Path

from components.shared.data.versions import read_version
from components.shared.services.store import Store


def kept(store: Store, digest: str, name: str) -> bytes:
    """Content of a file of a version."""
    version = read_version(store, digest)
    assert version is not None
    return store.get_bytes(version.key(name))


def keys(store: Store, prefix: str = "", ending: str = "") -> list[str]:
    """Keys of the objects under a prefix whose names end so."""
    return [key for key, _ in store.list(prefix) if key.endswith(ending)]


def contents_of(folder: Path) -> dict[str, bytes]:
    """Contents of the JPEG files under a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}
