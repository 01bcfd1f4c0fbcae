"""Data set versions: dataset.json is written last, files of two writers are never mixed, damage is repaired."""

import hashlib
import multiprocessing
import shutil
from pathlib import Path

import pandas as pd
import pytest

from components.shared.data.manifest import Manifest
from components.shared.data.shards import Member, Place, ShardReader, write_shards
from components.shared.data.versions import (
    COMMIT,
    Version,
    commit,
    fetch,
    put_images,
    read_images,
    read_version,
    whole_version,
)
from components.shared.errors import InputError
from components.shared.services.store import Store

CONTENTS = [hashlib.shake_256(bytes([n])).digest(100 + 37 * n) for n in range(30)]
MEMBERS = sorted(
    (Member(hashlib.sha256(content).hexdigest(), content, ".jpg") for content in CONTENTS),
    key=lambda member: member.sample_id,
)


def manifest(places: list[Place], digest: str = "abc") -> Manifest:
    table = pd.DataFrame(map(vars, places)).astype({"mask_offset": "Int64", "mask_size": "Int64"})
    return Manifest(table, digest)


def make(folder: Path, limit: int = 8_000) -> Manifest:
    """Write a version to a folder, not to the store."""
    places = write_shards(MEMBERS, folder / "shards", limit)
    (folder / "manifest.parquet").write_text(",".join(place.shard for place in places))
    return manifest(places)


def store_as(store: Store, digest: str, folder: Path) -> Version:
    store.put_folder("shards", folder / "shards")
    return commit(store, digest, folder, sizes(folder))


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (folder / "shards").iterdir()}


def assert_all_there(places: Manifest, folder: Path) -> None:
    reader = ShardReader(folder)
    for member, row in zip(MEMBERS, places.table.itertuples(), strict=True):
        assert reader.read(row.shard, row.offset, row.size) == member.image


def test_fetch_brings_a_version_once(store: Store, tmp_path: Path) -> None:
    made = make(tmp_path / "made")
    assert whole_version(store, "abc") is None
    version = store_as(store, "abc", tmp_path / "made")
    assert whole_version(store, "abc") == version
    folder = fetch(store, made, tmp_path / "cache")
    assert_all_there(made, folder)
    store.delete([key for key, _ in store.list()])  # the second fetch does not ask the store
    assert fetch(store, made, tmp_path / "cache") == folder


def test_a_few_images_are_read_from_the_store_in_the_order_of_the_rows(store: Store, tmp_path: Path) -> None:
    made = make(tmp_path / "made")
    store_as(store, "abc", tmp_path / "made")
    assert read_images(store, made.table.iloc[[20, 3]]) == [MEMBERS[20].image, MEMBERS[3].image]

    place = made.table.iloc[3]
    shard = bytearray(store.get_bytes(f"shards/{place['shard']}"))
    shard[place["offset"] + 7] ^= 1
    store.put_bytes(f"shards/{place['shard']}", bytes(shard))
    with pytest.raises(InputError, match=rf"shards/{place['shard']} is damaged: .*; restore it .* do not delete it"):
        read_images(store, made.table.iloc[[3]])


def test_version_without_its_commit_marker_does_not_exist(store: Store, tmp_path: Path) -> None:
    make(tmp_path / "made")
    store_as(store, "abc", tmp_path / "made")
    store.delete([f"datasets/abc/{COMMIT}"])
    assert read_version(store, "abc") is None


def test_version_of_another_release_is_named(store: Store) -> None:
    store.put_bytes(f"datasets/abc/{COMMIT}", b'{"digest": "abc", "previous": null, "shards": {}}')
    named = r"datasets/abc/dataset\.json is damaged, or another release .* wrote it \(it has no sha256\); ingest"
    with pytest.raises(InputError, match=named):
        read_version(store, "abc")


def test_packing_ends_when_a_shard_cannot_be_stored(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise InputError("the bucket is gone")

    monkeypatch.setattr(Store, "put_file", refused)
    members = (Member(f"{number:064x}", b"image", ".jpg") for number in range(2_000))
    with pytest.raises(InputError, match="the bucket is gone"):
        put_images(store, members, tmp_path, limit=1)
    assert next(members, None)


def test_a_version_that_the_store_lost_is_named(store: Store, tmp_path: Path) -> None:
    made = make(tmp_path / "made")
    with pytest.raises(
        InputError, match=r"lacks \d of the \d shards of the data set version abc; .* run the step ingest again"
    ):
        fetch(store, made, tmp_path / "cache")
    assert not (tmp_path / "cache" / "abc").exists()


def test_damaged_shard_is_refused_and_never_appears(store: Store, tmp_path: Path) -> None:
    made = make(tmp_path / "made")
    store_as(store, "abc", tmp_path / "made")
    shard = next((tmp_path / "made" / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    store.put_bytes(f"shards/{shard.name}", bytes(data))
    with pytest.raises(InputError, match=rf"shards/{shard.name} is damaged"):
        fetch(store, made, tmp_path / "cache")
    assert not (tmp_path / "cache" / "abc").exists()


def test_a_cache_that_lost_a_file_is_repaired(store: Store, tmp_path: Path) -> None:
    made = make(tmp_path / "made")
    store_as(store, "abc", tmp_path / "made")
    folder = fetch(store, made, tmp_path / "cache")
    first, second, *_ = (folder / "shards").iterdir()
    first.unlink()
    second.write_bytes(b"cut")
    assert_all_there(made, fetch(store, made, tmp_path / "cache"))


def test_partial_files_of_a_killed_fetch_are_removed(store: Store, tmp_path: Path) -> None:
    made = make(tmp_path / "made")
    store_as(store, "abc", tmp_path / "made")
    shards = tmp_path / "cache" / "abc" / "shards"
    shards.mkdir(parents=True)
    (shards / ".99999.tar.7.8.part").write_bytes(b"rest")
    fetch(store, made, tmp_path / "cache")
    assert {path.name for path in shards.iterdir()} == set(made.table["shard"])


def _fetch(uri: str, made: Manifest, cache: Path) -> list[str]:
    folder = fetch(Store(uri), made, cache)
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "shards").iterdir())]


def test_processes_may_fetch_at_once(s3: str, tmp_path: Path) -> None:
    made = make(tmp_path / "made")
    store_as(Store(s3), "abc", tmp_path / "made")
    expected = sorted(name.removesuffix(".tar") for name in set(made.table["shard"]))
    with multiprocessing.get_context("fork").Pool(4) as pool:
        results = pool.starmap(_fetch, [(s3, made, tmp_path / "cache")] * 4, chunksize=1)
    assert results == [expected] * 4
    shutil.rmtree(tmp_path / "cache" / "abc")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {".abc.lock", ".abc.use"}


def test_the_commit_marker_lists_the_shards(store: Store, tmp_path: Path) -> None:
    make(tmp_path / "made")
    store_as(store, "abc", tmp_path / "made")
    version = read_version(store, "abc")
    assert version
    assert version.digest == "abc"
    assert version.shards == sizes(tmp_path / "made")


def test_version_that_another_writer_committed_first_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    make(tmp_path / "first")
    make(tmp_path / "second", limit=4_000)
    first = store_as(store, "abc", tmp_path / "first")
    before = store.list("datasets/")
    assert store_as(store, "abc", tmp_path / "second") == first
    assert store.list("datasets/") == before


def test_the_files_of_two_concurrent_writers_are_never_mixed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = make(tmp_path / "mine"), make(tmp_path / "other", limit=4_000)
    write, seen = Store.put_bytes, []

    def overtaken(self: Store, key: str, data: bytes) -> None:
        """Before we write our marker, another writer writes all of its files except its marker (see `seen`)."""
        monkeypatch.setattr(Store, "put_bytes", lambda self, key, data: seen.append((key, data)))
        store_as(self, "abc", tmp_path / "other")
        monkeypatch.setattr(Store, "put_bytes", write)
        write(self, key, data)

    monkeypatch.setattr(Store, "put_bytes", overtaken)
    store_as(store, "abc", tmp_path / "mine")
    for made in (mine, other):
        version = read_version(store, "abc")
        assert version
        places = store.get_bytes(version.key("manifest.parquet")).decode().split(",")
        assert places == made.table["shard"].tolist()
        assert set(version.shards) == set(places)
        for marker in seen:
            store.put_bytes(*marker)
    # A reader of one manifest still finds its images after the other marker was written.
    assert_all_there(mine, fetch(store, mine, tmp_path / "cache"))
    assert_all_there(other, fetch(store, other, tmp_path / "cache"))
    assert_all_there(mine, tmp_path / "cache" / "abc")  # fetching the other one removed nothing


def test_version_refers_to_shards_of_an_earlier_one(store: Store, tmp_path: Path) -> None:
    first = write_shards(MEMBERS[:10], tmp_path / "first" / "shards")
    store_as(store, "old", tmp_path / "first")
    second, added = put_images(store, MEMBERS[10:], tmp_path / "second" / "shards", limit=4_000)
    assert len(added) > 1
    assert not list((tmp_path / "second" / "shards").iterdir())
    (shard,) = {place.shard for place in first}
    commit(store, "new", tmp_path / "second", added | read_version(store, "old").shards)
    made = manifest(first + second, "new")
    assert_all_there(made, fetch(store, made, tmp_path / "cache"))
    store.delete([f"shards/{shard}"])
    assert whole_version(store, "new") is None
