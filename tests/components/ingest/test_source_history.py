"""A source that grows: what is known is neither read nor packed again, and no picture ever changes its group."""

import datetime
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ingest import source_history
from components.ingest.config import IngestConfig
from components.ingest.duplicates import perceptual_hash
from components.ingest.earlier_versions import Past
from components.ingest.grouping import Selection, select
from components.ingest.run import ingest_dataset
from components.shared.data.manifest import Manifest, read_manifest
from components.shared.data.shards import ShardReader
from components.shared.data.versions import fetch
from components.shared.errors import InputError
from components.shared.services.store import Store, StoredObject

Write = Callable[..., Path]

LISTED, NOW = Store.objects, datetime.datetime.now(datetime.UTC)


def ingest(data: Path | str, store: Store, tmp_path: Path, **config: object) -> Manifest:
    parsed = IngestConfig.model_validate({"store": store.uri, "min_images": 5, "max_refused": 0.4, **config})
    ingest_dataset(str(data), tmp_path / "manifest", tmp_path / "page.html", parsed)
    return read_manifest(tmp_path / "manifest")


def spoil(folder: Path) -> dict[Path, bytes]:
    """Make every file unreadable as a picture, which size and time of change do not tell; return what was in them."""
    contents = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        contents[path], status = path.read_bytes(), path.stat()
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
    contents = {path.relative_to(tiles).as_posix(): data for path, data in spoil(tiles).items()}
    assert ingest(tiles, store, tmp_path).digest == first.digest
    assert (tmp_path / "page.html").read_text() == page
    assert store.list() == before
    contents["crack/new.jpg"] = write_tile(tiles / "crack" / "new.jpg", seed=99).read_bytes()
    second = ingest(tiles, store, tmp_path)
    assert len(second.table) == len(first.table) + 1
    assert_all_there(second, contents, store, tmp_path / "cache")
    shards = [key for key, _ in store.list("shards/")]
    assert len(shards) == 2  # the first version's, and one with the new tile


def test_what_is_known_is_kept_in_parts_that_are_made_one(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_history, "PARTS", 2)
    ingest(tiles, store, tmp_path)
    folder = next(key for key, _ in store.list("sources/") if "/index/" in key).rpartition("/")[0]
    store.put_bytes(f"{folder}/killed.thumbnails", b"what an ingestion left that was killed before it wrote the table")
    parts = []
    for number in range(4):
        spoil(tiles)  # a file that was looked at again would be refused
        write_tile(tiles / "crack" / f"new{number}.jpg", seed=100 + number)
        assert len(ingest(tiles, store, tmp_path).table) == 25 + number
        parts.append(sum("/index/" in key for key, _ in store.list("sources/")))
    assert parts == [5, 2, 4, 2]  # of two objects each, and what was left


def with_entity_tags(store: Store, prefix: str = "") -> list[StoredObject]:
    """A listing as by a server that gives tags, and of which time tells nothing."""
    listed = LISTED(store, prefix)
    return [replace(one, tag=hashlib.md5(store.get_bytes(one.key)).hexdigest(), changed=NOW) for one in listed]


@pytest.mark.parametrize("tagged", [False, True])
def test_known_objects_are_not_fetched_again(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write, monkeypatch: pytest.MonkeyPatch, tagged: bool
) -> None:
    if tagged:
        monkeypatch.setattr(Store, "objects", with_entity_tags)
    raw = Store(f"{store.uri}/raw/walls")
    raw.put_folder("now", tiles)
    source = f"{raw.uri}/now"
    ingest(source, store, tmp_path)
    write_tile(tiles / "crack" / "new.jpg", seed=99)
    write_tile(tiles / "crack" / "p0_1.jpg", seed=98)  # another picture under a name that is known
    for name in ("new.jpg", "p0_1.jpg", "p0_3.jpg")[: 2 + tagged]:  # the last one anew, but as it was
        raw.put_file(f"now/crack/{name}", tiles / "crack" / name)
    fetched, get_file = [], Store.get_file
    monkeypatch.setattr(Store, "get_file", lambda self, key, *rest: (fetched.append(key), get_file(self, key, *rest)))
    manifest = ingest(source, store, tmp_path)
    assert [key for key in fetched if key.endswith(".jpg")] == ["crack/new.jpg", "crack/p0_1.jpg"]
    contents = {path.relative_to(tiles).as_posix(): path.read_bytes() for path in tiles.rglob("*.jpg")}
    assert_all_there(manifest, contents, store, tmp_path / "cache")


def test_source_that_lost_and_relabelled_pictures(tiles: Path, store: Store, tmp_path: Path) -> None:
    ingest(tiles, store, tmp_path)
    (tiles / "crack" / "p0_1.jpg").unlink()
    (tiles / "crack" / "p0_3.jpg").rename(tiles / "no_crack" / "p0_3.jpg")
    table = ingest(tiles, store, tmp_path).table.set_index("path")
    assert len(table) == 23
    assert "crack/p0_1.jpg" not in table.index
    assert table.loc["no_crack/p0_3.jpg", "label"] == 0


def test_source_that_grew_between_others_is_known_there_too(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    alone = ingest(tiles, store, tmp_path).table.set_index("sample_id")
    spoil(tiles)
    for index in range(12):
        write_tile(tmp_path / "bridge" / ("crack", "no_crack")[index % 2] / f"{index}.jpg", seed=200 + index)
    both = ingest(f"{tiles},{tmp_path / 'bridge'}", store, tmp_path).table.set_index("sample_id")
    assert len(both) == 36
    pd.testing.assert_frame_equal(both.loc[alone.index], alone)


@pytest.mark.parametrize(
    ("of_part", "content"), [(".parquet", b"not parquet"), (".thumbnails", b"too few"), (".thumbnails", None)]
)
def test_history_that_is_lost_or_damaged_costs_time_only(
    tiles: Path, store: Store, tmp_path: Path, of_part: str, content: bytes | None
) -> None:
    first = ingest(tiles, store, tmp_path)
    (index,) = [key for key, _ in store.list("sources/") if key.endswith(of_part)]
    store.delete([index]) if content is None else store.put_bytes(index, content)
    (tiles / "crack" / "p0_1.jpg").rename(tiles / "crack" / "renamed.jpg")
    assert ingest(tiles, store, tmp_path).digest == first.digest
    contents = spoil(tiles / "crack")  # what was looked at again is known again
    (tiles / "no_crack" / "p0_0.jpg").rename(tiles / "no_crack" / "renamed.jpg")
    assert ingest(tiles, store, tmp_path).digest == first.digest
    for path, data in contents.items():
        path.write_bytes(data)
    store.delete([key for key, _ in store.list("sources/")])
    assert ingest(tiles, store, tmp_path).digest == first.digest


@pytest.mark.parametrize(
    ("error", "message"), [(InputError("the connection was cut"), "was cut"), (OSError(28, "full"), "the disk is full")]
)
def test_storage_or_disk_that_fails_does_not_pass_for_a_damaged_history(
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


def test_version_that_lost_a_shard_is_made_again(tiles: Path, store: Store, tmp_path: Path) -> None:
    first = ingest(tiles, store, tmp_path)
    store.delete([key for key, _ in store.list("shards/")])
    contents = {path.relative_to(tiles).as_posix(): path.read_bytes() for path in tiles.rglob("*.jpg")}
    again = ingest(tiles, store, tmp_path)
    assert again.digest == first.digest
    assert_all_there(again, contents, store, tmp_path / "cache")


def test_other_parameters_do_not_use_what_was_found_under_these(tiles: Path, store: Store, tmp_path: Path) -> None:
    ingest(tiles, store, tmp_path)
    with pytest.raises(InputError, match="no_crack has 12 good images"):
        ingest(tiles, store, tmp_path, min_images=13)
    table = ingest(tiles, store, tmp_path, group_pattern=r"^(p\d)_").table
    assert set(table["group_id"]) == {f"walls:p{number}" for number in range(6)}


def test_quarantine_between_groups_is_reported(tiles: Path, store: Store, tmp_path: Path, write_tile: Write) -> None:
    source = rf"{tiles}?group_pattern=^(p\d)_"
    before = ingest(source, store, tmp_path).table.set_index("sample_id")["group_id"]
    (tiles / "crack" / "p0_copy.jpg").write_bytes(write_tile(tmp_path / "x.jpg", seed=21, quality=80).read_bytes())
    manifest = ingest(source, store, tmp_path)
    assert manifest.table.set_index("sample_id")["group_id"].equals(before)
    (latest,) = [key for key, _ in store.list("sources/") if key.endswith("latest.json")]
    key = f"{json.loads(store.get_bytes(latest))['reports']}/report.json"
    for _ in range(2):  # the second time nothing has changed, and the report is still that of this state of the source
        report = json.loads(store.get_bytes(key))
        assert report["bridges"] == report["sources"][0]["bridges"] == 1
        assert "crack/p0_copy.jpg" in (tmp_path / "page.html").read_text()
        assert ingest(source, store, tmp_path).digest == manifest.digest


def picture(number: int, thumbnail: np.ndarray, photo: str | None = None, path: str = "") -> dict:
    name, small = path or f"{number}.jpg", thumbnail.clip(0, 255).astype(np.uint8)
    told = {"sample_id": f"{number:064x}", "path": name, "label": 0, "photo": photo, "source": "s"}
    return told | {"thumbnail": small, "phash": perceptual_hash(small)}


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.uniform(60, 190, (8, 8)), np.ones((4, 4)))


def choose(pictures: list[dict], past: Past | None = None) -> Selection:
    table = pd.DataFrame(pictures).drop(columns="thumbnail").astype({"photo": "str"})
    return select(table, np.stack([one["thumbnail"] for one in pictures]).__getitem__, 0.97, past)


def group_of(selection: Selection) -> dict[int, str]:
    pictures = selection.pictures
    return {
        int(sample_id, 16): group for sample_id, group in zip(pictures["sample_id"], pictures["group_id"], strict=True)
    }


def past_of(selection: Selection) -> Past:
    names = selection.pictures["sample_id"].to_numpy()[selection.near_pairs]
    groups = pd.concat([selection.pictures.assign(version=0), selection.left_out.assign(version=1)])
    contested = selection.left_out.dropna(subset="contested").set_index("sample_id")["contested"].to_dict()
    pairs = pd.DataFrame(names, columns=["first", "second"])
    return Past(groups[["sample_id", "group_id", "version"]], pairs, contested)


def test_new_near_duplicate_joins_the_old_group_even_where_its_own_name_is_smaller() -> None:
    first = choose([picture(5, scene(1)), picture(6, scene(2))])
    pictures = [picture(n, scene(s)) for n, s in ((1, 1), (5, 1), (6, 2), (7, 3))]
    grown = choose(pictures, past_of(first))
    assert group_of(grown) == {1: f"{5:064x}", 5: f"{5:064x}", 6: f"{6:064x}", 7: f"{7:064x}"}
    assert grown.near_pairs.tolist() == [[0, 1]]
    again = choose(pictures, past_of(grown))
    assert group_of(again) == group_of(grown)
    assert again.near_pairs.tolist() == grown.near_pairs.tolist()


def test_what_would_join_two_old_groups_goes_to_quarantine_named_with_both() -> None:
    noise = np.random.default_rng(9).normal(0, 13, (32, 32))
    left, between, right = scene(1) - noise / 2, scene(1), scene(1) + noise / 2
    old = [picture(1, left), picture(3, right)]
    first = choose(old)
    assert len(set(group_of(first).values())) == 2
    assert len(set(group_of(choose([*old, picture(2, between)])).values())) == 1  # without a past they are one group
    grown = choose([*old, picture(2, between), picture(4, scene(5))], past_of(first))
    assert group_of(grown) == {1: f"{1:064x}", 3: f"{3:064x}", 4: f"{4:064x}"}
    (refusal,) = grown.bridges.to_dict("records")
    assert refusal["path"] == "2.jpg"
    assert all(group in refusal["reason"] for group in group_of(first).values())
    once_more = choose([*old, picture(2, between), picture(4, scene(5))], past_of(grown))
    assert group_of(once_more) == group_of(grown)


def test_tile_of_one_old_photo_that_looks_like_another_goes_to_quarantine() -> None:
    old = [picture(1, scene(1), "a"), picture(2, scene(2), "b")]
    first = choose(old)
    grown = choose(
        [*old, picture(3, scene(2), "a"), picture(4, scene(4), "a"), picture(5, scene(5), "c")], past_of(first)
    )
    assert group_of(grown) == {1: "s:a", 2: "s:b", 4: "s:a", 5: "s:c"}
    assert grown.bridges["path"].tolist() == ["3.jpg"]
    assert "s:a, s:b" in grown.bridges["reason"].item()


def test_copy_of_an_old_picture_brings_its_new_photo_into_the_group() -> None:
    old = [picture(1, scene(1), "a")]
    copy = picture(1, scene(1), "z", path="copy.jpg")
    grown = choose([*old, copy, picture(2, scene(2), "z")], past_of(choose(old)))
    assert group_of(grown) == {1: "s:a", 2: "s:a"}
    assert grown.copies.to_dict("records") == [{"path": "copy.jpg", "kept": "1.jpg"}]


def test_old_picture_that_turns_up_in_another_old_photo_goes_to_quarantine() -> None:
    old = [picture(n, scene(n), photo) for n, photo in ((1, "a"), (2, "a"), (3, "b"), (4, "b"))]
    first = choose(old)
    copy = picture(1, scene(1), "b", path="copy.jpg")
    grown = choose([*old, copy, picture(5, scene(5), "b")], past_of(first))
    assert group_of(grown) == {2: "s:a", 3: "s:b", 4: "s:b", 5: "s:b"}
    (refusal,) = grown.bridges.to_dict("records")
    assert refusal["path"] == "1.jpg"
    assert "s:a, s:b" in refusal["reason"]
    again = choose([*old, copy, picture(5, scene(5), "b")], past_of(grown))
    assert group_of(again) == group_of(grown)
    assert again.bridges["path"].tolist() == ["1.jpg"]


def test_picture_that_comes_back_has_the_group_that_it_had() -> None:
    old = [picture(1, scene(1), "a"), picture(2, scene(2), "b"), picture(3, scene(3), "b")]
    grown = choose([*old, picture(1, scene(1), "b", path="copy.jpg")], past_of(choose(old)))
    assert grown.bridges["path"].tolist() == ["1.jpg"]
    new = picture(4, scene(4), "b")
    again = choose([*old, picture(1, scene(1), "b", path="copy.jpg"), new], past_of(grown))
    assert group_of(again) == {2: "s:b", 3: "s:b", 4: "s:b"}  # though nothing else is of its group any more
    assert group_of(choose([*old, new], past_of(again))) == {1: "s:a", 2: "s:b", 3: "s:b", 4: "s:b"}


def apart_then_together(*pasts: Selection) -> Past:
    """What several versions say together, as `read_previous` puts it, of versions that were never split."""
    groups = pd.concat([past_of(one).groups.assign(version=number) for number, one in enumerate(pasts)])
    several = groups.drop_duplicates(["sample_id", "group_id"])["sample_id"]
    contested = dict.fromkeys(several[several.duplicated()], "two groups")
    pairs = pd.concat([past_of(one).pairs for one in pasts]).drop_duplicates()
    return Past(groups.drop_duplicates("sample_id"), pairs, contested)


shown = st.tuples(
    st.integers(0, 5), st.sampled_from([None, "a", "b"]), st.sampled_from(["first", "second", "both", "new"])
)


@settings(max_examples=80, deadline=None)
@given(st.lists(shown, min_size=1, max_size=14))
def test_whatever_two_pasts_say_no_group_changes_and_none_are_parted(shown: list[tuple[int, str | None, str]]) -> None:
    pictures = [picture(number, scene(look), photo) for number, (look, photo, _) in enumerate(shown)]
    pasts = [
        choose([one for one, (_, _, when) in zip(pictures, shown, strict=True) if when in (name, "both")])
        for name in ("first", "second")
        if any(when in (name, "both") for _, _, when in shown)
    ]
    together = choose(pictures, apart_then_together(*pasts) if pasts else None)
    again = choose(pictures, past_of(together))
    for earlier, later in [*((past, together) for past in pasts), *((one, again) for one in (*pasts, together))]:
        before, after = group_of(earlier), group_of(later)
        assert all(after[number] == before[number] for number in before.keys() & after.keys())
        rows = later.pictures["group_id"].to_numpy()
        assert all(rows[a] == rows[b] for a, b in later.near_pairs)
        assert (later.pictures.groupby("photo")["group_id"].nunique() == 1).all()
    assert group_of(together).keys() <= group_of(again).keys()
