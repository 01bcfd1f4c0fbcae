"""Shards: plain tar, exact offsets, commit marker last, a cache that survives concurrency and damage."""

import hashlib
import json
import multiprocessing
import pickle
import shutil
import tarfile
from pathlib import Path

import pytest

from components.shared.runtime import InputError
from components.shared.shards import Member, ShardReader, write_shards
from components.shared.storage import Store
from components.shared.versions import commit, fetch, is_committed


def members(number: int = 30) -> list[Member]:
    made = []
    for index in range(number):
        image = hashlib.shake_256(f"image {index}".encode()).digest(100 + 37 * index)
        mask = hashlib.shake_256(f"mask {index}".encode()).digest(50 + index) if index % 3 == 0 else None
        made.append(Member(f"{index:064x}", image, ".jpg", mask, ".png" if mask else ""))
    return made


def version(folder: Path) -> Path:
    write_shards(members(), folder / "shards", limit=8_000)
    (folder / "manifest.parquet").write_bytes(b"manifest")
    (folder / "report.json").write_text("{}")
    return folder


def test_every_image_and_mask_is_read_by_its_place(tmp_path: Path) -> None:
    places = write_shards(members(), tmp_path / "shards", limit=8_000)
    assert len({place.shard for place in places}) > 2
    reader = ShardReader(tmp_path)
    for member, place in zip(members(), places, strict=True):
        assert place.sample_id == member.sample_id
        assert reader.read(place.shard, place.offset, place.size) == member.image
        if member.mask is None:
            assert place.mask_offset is None
            assert place.mask_size is None
        else:
            assert place.mask_offset is not None
            assert place.mask_size is not None
            assert reader.read(place.shard, place.mask_offset, place.mask_size) == member.mask


def test_plain_tar_reads_the_shards(tmp_path: Path) -> None:
    write_shards(members(), tmp_path / "shards", limit=8_000)
    contents = {}
    for path in sorted((tmp_path / "shards").iterdir()):
        with tarfile.open(path) as archive:
            contents |= {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
    expected = {f"{m.sample_id}.jpg": m.image for m in members()}
    expected |= {f"{m.sample_id}.mask.png": m.mask for m in members() if m.mask}
    assert contents == expected


def test_equal_members_give_equal_shards(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shards(members(), tmp_path / name, limit=8_000)
    names = [path.name for path in sorted((tmp_path / "a").iterdir())]
    assert names == [path.name for path in sorted((tmp_path / "b").iterdir())]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_fetch_brings_a_version_once(store: Store, tmp_path: Path) -> None:
    made = version(tmp_path / "made")
    assert not is_committed(store, "abc")
    commit(store, "abc", made, {"images": 30})
    assert is_committed(store, "abc")
    folder = fetch(store, "abc", tmp_path / "cache")
    for path in (made / "shards").iterdir():
        assert (folder / "shards" / path.name).read_bytes() == path.read_bytes()
    store.delete([key for key, _ in store.list()])  # the second time nothing is asked of the store
    assert fetch(store, "abc", tmp_path / "cache") == folder


def test_version_without_its_commit_marker_does_not_exist(store: Store, tmp_path: Path) -> None:
    commit(store, "abc", version(tmp_path / "made"), {})
    store.delete(["datasets/abc/dataset.json"])
    assert not is_committed(store, "abc")
    with pytest.raises(InputError, match="has no data set version abc: run ingest first"):
        fetch(store, "abc", tmp_path / "cache")
    assert not (tmp_path / "cache" / "abc").exists()


def test_damaged_shard_is_refused_and_never_appears(store: Store, tmp_path: Path) -> None:
    made = version(tmp_path / "made")
    commit(store, "abc", made, {})
    shard = next((made / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    store.put_bytes(f"shards/{shard.name}", bytes(data))
    with pytest.raises(InputError, match=rf"shards/{shard.name} is damaged"):
        fetch(store, "abc", tmp_path / "cache")
    assert not (tmp_path / "cache" / "abc").exists()


def test_cache_that_lost_a_file_is_fetched_again(store: Store, tmp_path: Path) -> None:
    made = version(tmp_path / "made")
    commit(store, "abc", made, {})
    folder = fetch(store, "abc", tmp_path / "cache")
    first, second, *_ = (folder / "shards").iterdir()
    first.unlink()
    second.write_bytes(b"cut")
    fetch(store, "abc", tmp_path / "cache")
    for path in (made / "shards").iterdir():
        assert (folder / "shards" / path.name).read_bytes() == path.read_bytes()


def test_rest_of_a_killed_fetch_does_no_harm(store: Store, tmp_path: Path) -> None:
    commit(store, "abc", version(tmp_path / "made"), {})
    (tmp_path / "cache" / ".abc.part" / "shards").mkdir(parents=True)
    (tmp_path / "cache" / ".abc.part" / "shards" / "99999.tar").write_bytes(b"rest")
    folder = fetch(store, "abc", tmp_path / "cache")
    assert not (folder / "shards" / "99999.tar").exists()


def _fetch(uri: str, cache: Path) -> list[str]:
    folder = fetch(Store(uri), "abc", cache)
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "shards").iterdir())]


def test_processes_may_fetch_at_once(s3: str, tmp_path: Path) -> None:
    made = version(tmp_path / "made")
    commit(Store(s3), "abc", made, {})
    expected = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((made / "shards").iterdir())]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        results = pool.starmap(_fetch, [(s3, tmp_path / "cache")] * 4, chunksize=1)
    assert results == [expected] * 4
    shutil.rmtree(tmp_path / "cache" / "abc")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {".abc.lock", ".abc.use"}


def test_reader_travels_to_other_processes(tmp_path: Path) -> None:
    place = write_shards(members(1), tmp_path / "shards")[0]
    reader = ShardReader(tmp_path)
    reader.read(place.shard, place.offset, place.size)
    again = pickle.loads(pickle.dumps(reader))
    assert again.read(place.shard, place.offset, place.size) == members(1)[0].image


def test_reading_past_the_end_or_from_no_shard_is_refused(tmp_path: Path) -> None:
    shard = write_shards(members(1), tmp_path / "shards")[0].shard
    with pytest.raises(InputError, match=f"{shard} ends before byte 1000010"):
        ShardReader(tmp_path).read(shard, 1_000_000, 10)
    with pytest.raises(InputError, match=r"there is no shard .*00009.tar"):
        ShardReader(tmp_path).read("00009.tar", 0, 10)


def test_commit_marker_tells_the_shards(store: Store, tmp_path: Path) -> None:
    made = version(tmp_path / "made")
    commit(store, "abc", made, {"images": 30})
    told = json.loads(store.get_bytes("datasets/abc/dataset.json"))
    assert told["digest"] == "abc"
    assert told["images"] == 30
    assert told["shards"] == {path.name: path.stat().st_size for path in (made / "shards").iterdir()}


def test_version_that_another_writer_committed_first_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    commit(store, "abc", version(tmp_path / "made"), {})
    shutil.rmtree(tmp_path / "made")
    write_shards(members()[:10], tmp_path / "made" / "shards", limit=4_000)
    (tmp_path / "made" / "manifest.parquet").write_bytes(b"places in other shards")
    told = store.get_bytes("datasets/abc/dataset.json")
    commit(store, "abc", tmp_path / "made", {})
    assert store.get_bytes("datasets/abc/dataset.json") == told
    assert store.get_bytes("datasets/abc/manifest.parquet") == b"manifest"


def test_version_refers_to_shards_of_an_earlier_one(store: Store, tmp_path: Path) -> None:
    first = write_shards(members()[:10], tmp_path / "first" / "shards")
    commit(store, "old", tmp_path / "first", {})
    second = write_shards(members()[10:], tmp_path / "second" / "shards")
    (shard,) = {place.shard for place in first}
    commit(store, "new", tmp_path / "second", {}, {shard: (tmp_path / "first" / "shards" / shard).stat().st_size})
    reader = ShardReader(fetch(store, "new", tmp_path / "cache"))
    for member, place in zip(members(), first + second, strict=True):
        assert reader.read(place.shard, place.offset, place.size) == member.image
    store.delete([f"shards/{shard}"])
    assert not is_committed(store, "new")
