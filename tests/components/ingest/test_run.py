"""A data set version from end to end: what is kept, what is not, and that no half-written version is ever visible."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from components.ingest.config import IngestConfig
from components.ingest.grouping import Selection, select
from components.ingest.run import Ingested, ingest_dataset
from components.shared.data.image import decode, decode_mask
from components.shared.data.manifest import Manifest, read_manifest
from components.shared.data.shards import ShardReader
from components.shared.data.versions import fetch
from components.shared.errors import InputError
from components.shared.services.store import Store
from tests.components.ingest.version_files import kept, keys, written

Write = Callable[..., Path]


def ingest(data: Path | str, store: Store, tmp_path: Path, **config: object) -> tuple[Ingested, Manifest, dict]:
    parsed = IngestConfig.model_validate({"store": store.uri, "min_images": 5, "max_refused": 0.4, **config})
    result = ingest_dataset(str(data), tmp_path / "manifest", tmp_path / "page.html", parsed)
    report = json.loads(kept(store, result.digest, "report.json"))
    return result, read_manifest(tmp_path / "manifest"), report


def reasons(report: dict) -> dict[str, str]:
    return {entry["path"]: entry["reason"] for entry in report["quarantine"]}


def test_every_tile_comes_back_byte_for_byte(tiles: Path, store: Store, tmp_path: Path) -> None:
    _, manifest, _ = ingest(tiles, store, tmp_path)
    folder = fetch(store, manifest, tmp_path / "cache")
    reader = ShardReader(folder)

    assert len(manifest.table) == 24
    for row in manifest.table.itertuples():
        assert reader.read(row.shard, row.offset, row.size) == (tiles / row.path).read_bytes()
        assert row.label == (row.path.startswith("crack/"))
        assert (row.width, row.height, row.source) == (64, 64, "walls")
    assert (tmp_path / "page.html").read_text().count("<img") >= 2


def test_same_data_again_writes_nothing(tiles: Path, store: Store, tmp_path: Path, monkeypatch) -> None:
    first, manifest, _ = ingest(tiles, store, tmp_path)
    before = store.list()
    written: list[str] = []
    monkeypatch.setattr(Store, "put_file", lambda self, key, path: written.append(key))
    again, manifest_again, _ = ingest(tiles, store, tmp_path)

    assert again.digest == first.digest
    assert manifest_again.digest == manifest.digest
    assert written == []
    assert store.list() == before


def test_a_mask_of_no_image_that_is_added_is_reported_although_the_data_stay_the_same(
    tiles: Path, store: Store, tmp_path: Path
) -> None:
    first, _, report = ingest(tiles, store, tmp_path)
    assert report["sources"][0]["warnings"] == []
    (tiles / "masks").mkdir()
    cv2.imwrite(str(tiles / "masks" / "nobody.png"), np.zeros((64, 64), np.uint8))
    again, _, _ = ingest(tiles, store, tmp_path)
    assert again.digest == first.digest
    assert "nobody.png" in (tmp_path / "page.html").read_text()


def test_renamed_files_are_the_same_data(tiles: Path, store: Store, tmp_path: Path) -> None:
    first, _, _ = ingest(tiles, store, tmp_path)
    (tiles / "crack" / "p0_1.jpg").rename(tiles / "crack" / "zzz.jpg")
    again, manifest, _ = ingest(tiles, store, tmp_path)
    assert again.digest == first.digest
    assert "crack/p0_1.jpg" in set(manifest.table["path"])  # the manifest of the committed version stays


def test_another_tile_is_another_version(tiles: Path, store: Store, tmp_path: Path, write_tile: Write) -> None:
    first, _, _ = ingest(tiles, store, tmp_path)
    write_tile(tiles / "crack" / "new.jpg", seed=99)
    assert ingest(tiles, store, tmp_path)[0].digest != first.digest


class Killed(BaseException):
    """An error that no code catches. It ends an ingestion like SIGKILL."""


def die_at_write(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise `Killed` just before write number `number` to the store."""
    left = iter(range(number))
    for name in ("put_bytes", "put_file", "delete"):
        write = getattr(Store, name)

        def dying(self: Store, *arguments: object, write: Callable = write) -> None:
            if next(left, None) is None:
                raise Killed
            write(self, *arguments)

        monkeypatch.setattr(Store, name, dying)


def test_ingestion_killed_at_any_write_leaves_whole_versions_only_and_can_be_repeated(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write, monkeypatch
) -> None:
    before = ingest(tiles, store, tmp_path)[1].digest
    parts = {key: store.get_bytes(key) for key, _ in store.list()}
    write_tile(tiles / "crack" / "new.jpg", seed=99)
    after = ingest(tiles, store, tmp_path)[1].digest
    seen = []
    for number in range(100):
        store.delete(keys(store))
        for key, data in parts.items():
            store.put_bytes(key, data)
        with monkeypatch.context() as patch, suppress(Killed):
            die_at_write(number, patch)
            ingest(tiles, store, tmp_path)
            break
        seen.append({key.split("/")[1] for key in keys(store, "datasets/", "/dataset.json")})
        for digest in seen[-1]:
            (tmp_path / "seen").write_bytes(kept(store, digest, "manifest.parquet"))
            fetch(store, read_manifest(tmp_path / "seen"), tmp_path / f"cache-{number}")
        assert ingest(tiles, store, tmp_path)[0].digest == after

    assert seen[0] == {before}
    assert seen[-1] == {before, after}
    assert len(seen) > 8  # writes: a shard, the findings, the files, the marker, the reports, the record


@pytest.mark.parametrize("gone", [False, True])
def test_file_that_changes_during_ingestion_is_named_and_leaves_no_version(
    tiles: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    def late(*arguments: Any, **options: Any) -> Selection:
        path = tiles / "crack" / "p0_1.jpg"
        path.unlink() if gone else path.write_bytes(b"another")
        return select(*arguments, **options)

    monkeypatch.setattr("components.ingest.run.select", late)

    with pytest.raises(InputError, match=r"crack/p0_1.jpg was changed or removed during the ingestion"):
        ingest(tiles, store, tmp_path)
    assert not store.list("datasets/")


def test_bad_files_are_refused_each_with_its_reason(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    good = (tiles / "crack" / "p0_1.jpg").read_bytes()
    (tiles / "crack" / "truncated.jpg").write_bytes(good[: len(good) // 2])
    (tiles / "crack" / "empty.jpg").write_bytes(b"")
    (tiles / "crack" / "text.jpg").write_text("I am not an image\n" * 20)
    write_tile(tiles / "no_crack" / "small.jpg", seed=50, size=20)
    write_tile(tiles / "no_crack" / "large.jpg", seed=51, size=300)
    from PIL import Image

    first, *rest = [Image.fromarray(np.full((40, 40, 3), level, np.uint8)) for level in (0, 90, 200)]
    first.save(tiles / "crack" / "moving.gif", save_all=True, append_images=rest)
    _, manifest, report = ingest(tiles, store, tmp_path, max_pixels=80_000)

    assert reasons(report) == {
        "crack/truncated.jpg": "not a whole image: the end of the JPEG data is missing",
        "crack/empty.jpg": "empty file; copy it again",
        "crack/text.jpg": "not an image",
        "crack/moving.gif": "not one photo: 3 frames or pages in one file; save one of them as an image",
        "no_crack/small.jpg": "too small: 20x20 pixels, less than min_size 32; use a larger image, or lower min_size",
        "no_crack/large.jpg": (
            "too large: 300x300 pixels, more than max_pixels 80000; cut the image into tiles, or raise max_pixels"
        ),
    }
    assert len(manifest.table) == 24


def test_too_many_refused_files_stop_the_run(tiles: Path, store: Store, tmp_path: Path) -> None:
    for index in range(3):
        (tiles / "crack" / f"bad{index}.jpg").write_text("text")
    with pytest.raises(
        InputError,
        match=r"3 of the 27 files of the source walls are refused, more than ingest.max_refused 0.1 .*bad0.jpg: not an",
    ):
        ingest(tiles, store, tmp_path, max_refused=0.1)

    assert written(store) == []


def test_exact_copies_are_kept_once_and_those_with_both_labels_not_at_all(
    tiles: Path, store: Store, tmp_path: Path
) -> None:
    shutil.copy(tiles / "crack" / "p0_1.jpg", tiles / "crack" / "twin.jpg")
    shutil.copy(tiles / "crack" / "p0_3.jpg", tiles / "no_crack" / "liar.jpg")
    _, manifest, report = ingest(tiles, store, tmp_path)

    assert report["copies"] == [{"path": "crack/twin.jpg", "kept": "crack/p0_1.jpg"}]
    both = "the same file has both labels: crack/p0_3.jpg (crack), no_crack/liar.jpg (no_crack)"
    assert reasons(report) == {"crack/p0_3.jpg": both, "no_crack/liar.jpg": both}
    assert len(manifest.table) == 23


def test_a_class_of_copies_of_one_file_is_named(tiles: Path, store: Store, tmp_path: Path) -> None:
    for path in (tiles / "crack").iterdir():
        if path.name != "p0_1.jpg":
            path.unlink()
    for number in range(39):
        shutil.copy(tiles / "crack" / "p0_1.jpg", tiles / "crack" / f"twin{number}.jpg")

    copies = "39 of the 40 files of class crack are exact copies of one file, crack/p0_1.jpg"
    with pytest.raises(InputError, match=rf"the class crack has 1 accepted images, .*\. {copies}, and do not count"):
        ingest(tiles, store, tmp_path)


def test_near_duplicates_share_a_group_and_those_with_both_labels_go_to_quarantine(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    write_tile(tiles / "crack" / "again.jpg", seed=1, quality=60)
    write_tile(tiles / "no_crack" / "contradiction.jpg", seed=3, quality=70)
    _, manifest, report = ingest(tiles, store, tmp_path)
    groups = manifest.table.set_index("path")["group_id"]

    assert groups["crack/again.jpg"] == groups["crack/p0_1.jpg"]
    assert groups["crack/again.jpg"] == min(
        manifest.table.set_index("path").loc[["crack/again.jpg", "crack/p0_1.jpg"], "sample_id"]
    )
    assert groups.nunique() == len(groups) - 1
    assert set(reasons(report)) == {"crack/p0_3.jpg", "no_crack/contradiction.jpg"}
    assert "its near duplicate is no_crack/contradiction.jpg (no_crack)" in reasons(report)["crack/p0_3.jpg"]


def test_images_with_both_labels_are_shown_side_by_side(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    shutil.copy(tiles / "crack" / "p0_1.jpg", tiles / "no_crack" / "liar.jpg")
    write_tile(tiles / "no_crack" / "contradiction.jpg", seed=3, quality=70)
    ingest(tiles, store, tmp_path)
    page = (tmp_path / "page.html").read_text()
    shown = re.findall('<img src="data:image/jpeg;base64,([^"]+)" alt="walls/([^"]+)"', page)
    names = ["no_crack/liar.jpg", "crack/p0_1.jpg", "no_crack/contradiction.jpg", "crack/p0_3.jpg"]

    assert [name for _, name in shown] == names
    for data, name in shown:
        small = decode(base64.b64decode(data))
        whole = cv2.resize(decode((tiles / name).read_bytes()), small.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - whole).mean() < 3


def test_known_photos_are_groups_and_near_duplicates_merge_them(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    write_tile(tiles / "crack" / "p5_again.jpg", seed=1, quality=60)  # tile 1 is of photo p0
    _, manifest, _ = ingest(tiles, store, tmp_path, group_pattern=r"^(p\d)_")
    groups = manifest.table.set_index("path")["group_id"]

    assert set(groups) == {"walls:p0", "walls:p1", "walls:p2", "walls:p3", "walls:p4"}
    assert {groups[path] for path in groups.index if "/p5_" in path} == {"walls:p0"}
    named = pd.read_parquet(BytesIO(kept(store, manifest.digest, "photos.parquet")))
    photos = manifest.table.merge(named, on="sample_id").set_index("path")[
        "photo"
    ]  # the photos in the names, also where photos were joined to one group
    assert photos.to_dict() == {path: f"walls:{path.split('/')[1][:2]}" for path in groups.index}


def test_turned_and_16_bit_images_are_decoded_correctly(tiles: Path, store: Store, tmp_path: Path) -> None:
    from PIL import Image

    upright = np.tile(np.linspace(0, 255, 80).astype(np.uint8)[None, :, None], (60, 1, 3))
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(np.ascontiguousarray(np.rot90(upright, -1))).save(tiles / "crack" / "turned.jpg", exif=exif)
    Image.fromarray(np.ascontiguousarray(upright[..., 0]).astype(np.uint16) * 257).save(tiles / "crack" / "deep.png")
    _, manifest, _ = ingest(tiles, store, tmp_path, near_duplicate=1.0)
    rows = manifest.table.set_index("path")
    reader = ShardReader(fetch(store, manifest, tmp_path / "cache"))
    for name in ("crack/turned.jpg", "crack/deep.png"):
        row = rows.loc[name]
        assert (row["width"], row["height"]) == (80, 60)
        image = decode(reader.read(row["shard"], row["offset"], row["size"]))
        assert np.abs(image.astype(int) - upright).mean() < 3


def test_masks_travel_with_their_tiles(tiles: Path, store: Store, tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[10:20, 5:50] = 255
    (tiles / "masks").mkdir()
    cv2.imwrite(str(tiles / "masks" / "p0_1.png"), mask)
    cv2.imwrite(str(tiles / "masks" / "p0_3.png"), mask[:32])
    _, manifest, report = ingest(tiles, store, tmp_path)
    row = manifest.table.set_index("path").loc["crack/p0_1.jpg"]
    reader = ShardReader(fetch(store, manifest, tmp_path / "cache"))
    np.testing.assert_array_equal(
        decode_mask(reader.read(row["shard"], row["mask_offset"], row["mask_size"])), mask > 0
    )

    assert manifest.table["mask_id"].notna().sum() == 1
    assert reasons(report) == {
        "crack/p0_3.jpg": "its mask p0_3.png is 64x32 pixels, but the image is 64x64; save both in the same size"
    }


def test_synthetic_tiles_are_a_source(store: Store, tmp_path: Path) -> None:
    result, manifest, _ = ingest("synthetic://?images=60&seed=3&size=64", store, tmp_path)
    assert len(manifest.table) == 60

    assert set(manifest.table["source"]) == {"synthetic"}
    assert set(manifest.table["surface"]) <= {"deck", "pavement", "wall"}
    assert manifest.table["group_id"].str.startswith("synthetic:").all()
    assert manifest.table.loc[manifest.table["label"] == 1, "mask_id"].notna().all()
    again, _, _ = ingest("synthetic://?images=60&seed=3&size=64", store, tmp_path)
    assert again.digest == result.digest
    other, _, _ = ingest("synthetic://?images=60&seed=4&size=64", store, tmp_path)
    assert other.digest != result.digest


@pytest.mark.parametrize(
    ("data_uri", "message"),
    [
        ("synthetic://?imgs=3", "it must not contain imgs=3;"),
        ("synthetic://?images=many", "it must not contain images=many;"),
        ("synthetic://?images=-5", "it must not contain images=-5;"),
        ("synthetic://600", "it must not contain 600;"),
        ("synthetic://?size=8", "size from 32 to 1024"),
        ("ftp://somewhere/x", "must be a folder, a zip"),
        ("/not/there", "data /not/there does not exist; check the path, or give a folder"),
    ],
)
def test_data_that_cannot_be_opened_is_named(data_uri: str, message: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ingest(data_uri, store, tmp_path)
    assert data_uri in str(caught.value)


def test_too_few_good_images_of_a_class_stop_the_run(tiles: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"the class no_crack has 12 accepted images, fewer than ingest.min_images 13; add images of this",
    ):
        ingest(tiles, store, tmp_path, min_images=13)
    assert written(store) == []


def test_pattern_without_a_group_is_refused_by_the_config() -> None:
    with pytest.raises(ValueError, match="has no capturing group"):
        IngestConfig(group_pattern="DSC")
    with pytest.raises(ValueError, match="not a regular expression"):
        IngestConfig(group_pattern="(")


def test_real_tiles_give_clean_groups(real_data: Path, store: Store, tmp_path: Path) -> None:
    if not (real_data / "ccic").is_dir():
        pytest.skip(f"no CCIC tiles at {real_data / 'ccic'}")
    # Without overlaps, because a tile without a crack can overlap a tile with a crack.
    _, manifest, report = ingest(real_data / "ccic", store, tmp_path, overlap=None)
    assert report["refused"] == 0
    assert len(manifest.table) + report["exact_copies"] + report["conflicts"] == 3000
    assert (manifest.table.groupby("group_id")["label"].nunique() == 1).all()
