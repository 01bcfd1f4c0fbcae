"""What tests look at in a stored data set version."""

from components.shared.storage import Store
from components.shared.versions import read_version


def kept(store: Store, digest: str, name: str) -> bytes:
    """Content of a file of a version."""
    version = read_version(store, digest)
    assert version is not None
    return store.get_bytes(version.key(name))
