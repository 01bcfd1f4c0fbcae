"""A source that grows: known files are neither read nor packed again, and no image ever changes its group."""

import datetime
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from components.ingest import findings_index
from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.shared.data.manifest import Manifest, read_manifest
from components.shared.data.shards import ShardReader
from components.shared.data.versions import fetch
from components.shared.errors import InputError
from components.shared.services.foreign import ForeignObjects
from components.shared.services.store import Store, StoredObject
from tests.components.ingest.version_files import contents_of, keys

Write = Callable[..., Path]

LISTED, NOW = Store.objects, datetime.datetime.now(datetime.UTC)


def ingest(data: Path | str, store: Store, tmp_path: Path, **config: object) -> Manifest:
    parsed = IngestConfig.model_validate({"store": store.uri, "min_images": 5, "max_refused": 0.4, **config})
    ingest_dataset(str(data), tmp_path / "manifest", tmp_path / "page.html", parsed)
    return read_manifest(tmp_path / "manifest")


def spoil(folder: Path) -> dict[Path, bytes]:
    """Make every file unreadable, with the same size and time of change. Return the contents before."""
    contents = {}
    for path in folder.rglob("*.jpg"):
        status = path.stat()
        contents[path] = path.read_bytes()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return contents


def assert_all_there(manifest: Manifest, contents: dict[str, bytes], store: Store, cache: Path) -> None:
    reader = ShardReader(fetch(store, manifest, cache))
    table = manifest.table
    for path, shard, offset, size in zip(table["path"], table["shard"], table["offset"], table["size"], strict=True):
        assert reader.read(shard, offset, size) == contents[path]


def test_known_files_are_not_read_again(tiles: Path, store: Store, tmp_path: Path, write_tile: Write) -> None:
    first = ingest(tiles, store, tmp_path)
    page, before = (tmp_path / "page.html").read_text(), store.list()
    contents = contents_of(tiles)
    spoil(tiles)

    assert ingest(tiles, store, tmp_path).digest == first.digest
    assert (tmp_path / "page.html").read_text() == page
    assert store.list() == before
    contents["crack/new.jpg"] = write_tile(tiles / "crack" / "new.jpg", seed=99).read_bytes()
    second = ingest(tiles, store, tmp_path)
    assert len(second.table) == len(first.table) + 1
    assert_all_there(second, contents, store, tmp_path / "cache")
    assert len(keys(store, "shards/")) == 2  # the shard of the first version, and one with the new tile


def test_findings_are_kept_in_parts_that_are_merged(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings_index, "MAX_PARTS", 2)
    ingest(tiles, store, tmp_path)
    folder = keys(store, "sources/", ".thumbnails")[0].rpartition("/")[0]
    store.put_bytes(f"{folder}/killed.thumbnails", b"from an ingestion that was killed before it wrote the table")
    parts = []
    for number in range(4):
        spoil(tiles)  # a file that is examined again would be refused
        write_tile(tiles / "crack" / f"new{number}.jpg", seed=100 + number)
        assert len(ingest(tiles, store, tmp_path).table) == 25 + number
        parts.append(len(keys(store, f"{folder}/")))

    assert parts == [5, 2, 4, 2]  # two objects for each part, and one object of the killed ingestion


def with_entity_tags(store: Store, prefix: str = "") -> list[StoredObject]:
    """List the objects like a server that gives entity tags, and whose objects all have the same time of change."""
    listed = LISTED(store, prefix)
    return [replace(one, tag=hashlib.md5(store.get_bytes(one.key)).hexdigest(), changed=NOW) for one in listed]


@pytest.mark.parametrize("tagged", [False, True])
def test_known_objects_are_not_downloaded_again(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write, monkeypatch: pytest.MonkeyPatch, tagged: bool
) -> None:
    if tagged:
        monkeypatch.setattr(Store, "objects", with_entity_tags)
    raw = Store(f"{store.uri}/raw/walls")
    raw.put_folder("now", tiles)
    source = f"{raw.uri}/now"
    ingest(source, store, tmp_path)
    write_tile(tiles / "crack" / "new.jpg", seed=99)
    write_tile(tiles / "crack" / "p0_1.jpg", seed=98)  # another image with a known name
    for name in ("new.jpg", "p0_1.jpg", "p0_3.jpg")[: 2 + tagged]:  # the last one has not changed
        raw.put_file(f"now/crack/{name}", tiles / "crack" / name)
    fetched, read = [], ForeignObjects.read
    monkeypatch.setattr(ForeignObjects, "read", lambda self, one: (fetched.append(one.key), read(self, one))[1])
    manifest = ingest(source, store, tmp_path)

    assert sorted(fetched) == ["crack/new.jpg", "crack/p0_1.jpg"]
    contents = contents_of(tiles)
    assert_all_there(manifest, contents, store, tmp_path / "cache")


def test_source_that_lost_and_relabelled_images(tiles: Path, store: Store, tmp_path: Path) -> None:
    ingest(tiles, store, tmp_path)
    (tiles / "crack" / "p0_1.jpg").unlink()
    (tiles / "crack" / "p0_3.jpg").rename(tiles / "no_crack" / "p0_3.jpg")
    table = ingest(tiles, store, tmp_path).table.set_index("path")

    assert len(table) == 23
    assert "crack/p0_1.jpg" not in table.index
    assert table.loc["no_crack/p0_3.jpg", "label"] == 0


def test_source_is_known_in_combination_with_others(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    alone = ingest(tiles, store, tmp_path).table.set_index("sample_id")
    spoil(tiles)
    for index in range(12):
        write_tile(tmp_path / "spans" / ("crack", "no_crack")[index % 2] / f"{index}.jpg", seed=200 + index)
    both = ingest(f"{tiles},{tmp_path / 'spans'}", store, tmp_path).table.set_index("sample_id")

    assert len(both) == 36
    pd.testing.assert_frame_equal(both.loc[alone.index], alone)


@pytest.mark.parametrize(
    ("of_part", "content"), [(".parquet", b"not parquet"), (".thumbnails", b"too few"), (".thumbnails", None)]
)
def test_lost_or_damaged_findings_cost_time_only(
    tiles: Path, store: Store, tmp_path: Path, of_part: str, content: bytes | None
) -> None:
    first = ingest(tiles, store, tmp_path)
    (index,) = keys(store, "sources/", of_part)
    store.delete([index]) if content is None else store.put_bytes(index, content)
    (tiles / "crack" / "p0_1.jpg").rename(tiles / "crack" / "renamed.jpg")

    assert ingest(tiles, store, tmp_path).digest == first.digest
    contents = spoil(tiles / "crack")  # the index knows the files that were examined again
    (tiles / "no_crack" / "p0_0.jpg").rename(tiles / "no_crack" / "renamed.jpg")
    assert ingest(tiles, store, tmp_path).digest == first.digest
    for path, data in contents.items():
        path.write_bytes(data)
    store.delete(keys(store, "sources/"))
    assert ingest(tiles, store, tmp_path).digest == first.digest


@pytest.mark.parametrize(
    ("error", "message"), [(InputError("the connection was cut"), "was cut"), (OSError(28, "full"), "the disk is full")]
)
def test_failure_of_storage_or_disk_is_not_taken_for_damaged_findings(
    tiles: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    ingest(tiles, store, tmp_path)
    (tiles / "crack" / "p0_1.jpg").unlink()
    before, get_file = store.list(), Store.get_file

    def failing(self: Store, key: str, *rest: str) -> None:
        if key.endswith(".thumbnails"):
            raise error
        get_file(self, key, *rest)

    monkeypatch.setattr(Store, "get_file", failing)

    with pytest.raises(InputError, match=message):
        ingest(tiles, store, tmp_path)
    assert store.list() == before


def test_version_without_a_shard_is_made_again(tiles: Path, store: Store, tmp_path: Path) -> None:
    first = ingest(tiles, store, tmp_path)
    store.delete(keys(store, "shards/"))
    contents = contents_of(tiles)
    again = ingest(tiles, store, tmp_path)
    assert again.digest == first.digest
    assert_all_there(again, contents, store, tmp_path / "cache")


def test_other_parameters_do_not_use_these_findings(tiles: Path, store: Store, tmp_path: Path) -> None:
    ingest(tiles, store, tmp_path)
    with pytest.raises(InputError, match="no_crack has 12 accepted images"):
        ingest(tiles, store, tmp_path, min_images=13)
    table = ingest(tiles, store, tmp_path, group_pattern=r"^(p\d)_").table
    assert set(table["group_id"]) == {f"walls:p{number}" for number in range(6)}


def test_quarantine_between_groups_is_reported(tiles: Path, store: Store, tmp_path: Path, write_tile: Write) -> None:
    source = rf"{tiles}?group_pattern=^(p\d)_"
    before = ingest(source, store, tmp_path).table.set_index("sample_id")["group_id"]
    (tiles / "crack" / "p0_like_p5.jpg").write_bytes(write_tile(tmp_path / "x.jpg", seed=21, quality=80).read_bytes())
    manifest = ingest(source, store, tmp_path)

    assert manifest.table.set_index("sample_id")["group_id"].equals(before)
    (latest,) = keys(store, "sources/", "latest.json")
    key = f"{json.loads(store.get_bytes(latest))['reports']}/report.json"
    for _ in range(2):  # before the second time nothing changes, and the report stays the same
        report = json.loads(store.get_bytes(key))
        assert report["between_groups"] == report["sources"][0]["between_groups"] == 1
        assert "crack/p0_like_p5.jpg" in (tmp_path / "page.html").read_text()
        assert ingest(source, store, tmp_path).digest == manifest.digest
