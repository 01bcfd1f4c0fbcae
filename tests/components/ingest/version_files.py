"""The files of a stored data set version, for tests."""

from components.shared.data.versions import read_version
from components.shared.services.store import Store


def kept(store: Store, digest: str, name: str) -> bytes:
    """Content of a file of a version."""
    version = read_version(store, digest)
    assert version is not None
    return store.get_bytes(version.key(name))
