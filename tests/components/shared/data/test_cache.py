"""The cache keeps its size limit. It removes the version used longest ago, and never one that a process still reads."""

import errno
import multiprocessing
import os
from pathlib import Path

import pandas as pd
import pytest

from components.shared.data.manifest import Manifest
from components.shared.data.shards import Member
from components.shared.data.versions import commit, fetch, put_images
from components.shared.errors import InputError
from components.shared.services.store import Store

SIZE = 12_000  # bytes of a version's one image, about


def put(store: Store, *digests: str) -> list[Manifest]:
    """Commit versions with one image each; return their manifests."""
    made = []
    for number, digest in enumerate(digests):
        folder = Path(os.environ["VERSIONS"]) / digest
        folder.mkdir(parents=True, exist_ok=True)
        member = Member(f"{number:064x}", os.urandom(SIZE), ".jpg")
        places, shards = put_images(store, [member], folder / "shards")
        commit(store, digest, folder, shards)
        table = pd.DataFrame(map(vars, places)).astype({"mask_offset": "Int64", "mask_size": "Int64"})
        made.append(Manifest(table, digest))
    return made


@pytest.fixture(autouse=True)
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERSIONS", str(tmp_path / "versions"))


def _fetch(uri: str, manifest: Manifest, cache: Path, limit: int) -> None:
    fetch(Store(uri), manifest, cache, limit)


def fetch_elsewhere(uri: str, manifest: Manifest, cache: Path, limit: int) -> None:
    """Fetch in a process that ends, so that the version is no longer in use."""
    process = multiprocessing.get_context("spawn").Process(target=_fetch, args=(uri, manifest, cache, limit))
    process.start()
    process.join()
    assert process.exitcode == 0


def kept(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.is_dir()}


def test_the_version_used_longest_ago_is_removed(store: Store, tmp_path: Path) -> None:
    a, b, c = put(store, "a", "b", "c")
    cache, limit = tmp_path / "cache", 3 * SIZE
    for manifest in (a, b, a):
        fetch_elsewhere(store.uri, manifest, cache, limit)
    assert kept(cache) == {"a", "b"}
    fetch_elsewhere(store.uri, c, cache, limit)
    assert kept(cache) == {"a", "c"}


def test_a_version_in_use_stays_though_the_cache_is_too_large(store: Store, tmp_path: Path) -> None:
    a, b = put(store, "a", "b")
    cache, limit = tmp_path / "cache", int(1.5 * SIZE)
    folder = fetch(store, a, cache, limit)
    fetch_elsewhere(store.uri, b, cache, limit)
    assert kept(cache) == {"a", "b"}
    assert next((folder / "shards").iterdir()).stat().st_size > SIZE
    fetch(store, b, cache, limit)
    assert kept(cache) == {"a", "b"}


def test_a_version_larger_than_the_cache_is_refused(store: Store, tmp_path: Path) -> None:
    (a,) = put(store, "a")
    with pytest.raises(InputError, match=r"version a has \d+ bytes, more than cache_size 1000 .* raise cache_size"):
        fetch(store, a, tmp_path / "cache", 1000)
    assert kept(tmp_path / "cache") == set()


def test_a_full_disk_is_explained_and_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (a,) = put(store, "a")

    def full(self: Store, prefix: str, folder: Path, digests: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        (folder / next(iter(digests))).write_bytes(b"x")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Store, "get_folder", full)
        with pytest.raises(InputError, match=r"the disk of the cache .* is full: the data set version a needs \d+"):
            fetch(store, a, tmp_path / "cache")
    assert kept(tmp_path / "cache") == set()
    assert fetch(store, a, tmp_path / "cache").is_dir()
