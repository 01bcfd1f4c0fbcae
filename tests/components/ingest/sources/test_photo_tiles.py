"""The layout photos: whole photos with masks or annotations, cut into labelled tiles."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.ingest.sources.open_sources import Source, open_sources
from components.ingest.sources.uri import parse_sources
from components.shared.data.image import decode, decode_mask
from components.shared.data.manifest import read_manifest
from components.shared.errors import InputError
from components.shared.services.store import Store

WIDTH, HEIGHT, TILE = 200, 140, 64
CRACK_LINE = ((10, 30), (120, 34))  # in the first two tiles of the first row


def write_photo(path: Path, seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Write a photo as a PNG file, and return its pixels, BGR."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(128, 50, (height // 10, width // 10, 1))
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    pixels = (field + rng.normal(0, 4, (height, width, 3))).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return pixels


def write_mask(path: Path, width: int = WIDTH, height: int = HEIGHT, cracked: bool = True) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    if cracked:
        cv2.line(mask, *CRACK_LINE, 255, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), mask)
    return mask > 0


def write_coco(path: Path, *images: tuple[str, list], width: int = WIDTH, height: int = HEIGHT) -> None:
    document: dict[str, list] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "Crack"}]}
    for number, (name, polygons) in enumerate(images):
        document["images"].append({"id": number, "file_name": name, "width": width, "height": height})
        for polygon in polygons:
            one = {"id": number, "image_id": number, "category_id": 1, "segmentation": [polygon]}
            document["annotations"].append(one)
    path.write_text(json.dumps(document))


def opened(folder: Path | str, scratch: Path, options: str = f"?tile={TILE}", **config: object) -> Source:
    parsed = IngestConfig.model_validate({"store": "s3://unused/store", "max_refused": 0.6, **config})
    scratch.mkdir(exist_ok=True)
    [source] = open_sources(parse_sources(f"{folder}{options}"), parsed, scratch)
    return source


def test_tiles_have_the_label_that_follows_from_the_mask(tmp_path: Path) -> None:
    pixels = write_photo(tmp_path / "data/pier 1/Brücke+1.png", seed=1)
    mask = write_mask(tmp_path / "data/masks/pier 1/Brücke+1.png")
    source = opened(tmp_path / "data", tmp_path / "scratch")
    assert (source.layout, source.name) == ("photos", "data")

    files = source.files.set_index("path")
    assert len(files) == 3 * 2
    assert set(files["photo"]) == {"pier 1/Brücke+1.png"}
    for path, label in files["label"].items():
        left, top = map(int, str(path).rpartition("@")[2].removesuffix(".png").split(","))
        share = mask[top : top + TILE, left : left + TILE].mean()
        assert label == (share >= 0.005)

    source.bring(source.files)
    first = source.folder / "pier 1/Brücke+1.png@64,0.png"
    assert np.array_equal(decode(first.read_bytes()), pixels[:TILE, 64 : 2 * TILE, ::-1])
    own_mask = source.folder / str(files.loc["pier 1/Brücke+1.png@64,0.png", "mask"])
    assert np.array_equal(decode_mask(own_mask.read_bytes()), mask[:TILE, 64 : 2 * TILE])


def test_only_the_wanted_tiles_are_cut(tmp_path: Path) -> None:
    for number in (1, 2):
        write_photo(tmp_path / f"data/{number}.png", seed=number)
        write_mask(tmp_path / f"data/{number}_mask.png")
    source = opened(tmp_path / "data", tmp_path / "scratch")
    source.bring(source.files[source.files["path"] == "2.png@64,0.png"])
    written = sorted(path.relative_to(source.folder).as_posix() for path in source.folder.rglob("*.png"))
    assert written == ["2.png@64,0.png", "masks/2.png@64,0.png"]


def test_a_tile_with_a_trace_of_crack_is_left_out_and_counted(tmp_path: Path) -> None:
    write_photo(tmp_path / "data/1.png", seed=1)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5, 5:15] = 255  # 10 of 4096 pixels
    (tmp_path / "data/masks").mkdir()
    cv2.imwrite(str(tmp_path / "data/masks/1.png"), mask)
    source = opened(tmp_path / "data", tmp_path / "scratch")
    assert "1.png@0,0.png" not in set(source.files["path"])
    assert source.files["label"].tolist() == [0] * 5
    [sentence] = source.understood
    assert "tiles of 64 pixels: 5 no_crack, 0 crack; 1 tiles are not used" in sentence


@pytest.mark.parametrize("second", ["pier2", "area/pier2"])
def test_folders_of_photos_with_masks_are_one_source(second: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number, pier in enumerate(("pier1", second)):
        write_photo(folder / f"{pier}/IMG_1.png", seed=number)
        write_mask(folder / f"{pier}/masks/IMG_1.png", cracked=not number)
    write_photo(folder / "pier1/IMG_2.png", seed=9)
    source = opened(folder, tmp_path / "scratch")

    cracked = source.files[source.files["label"] == 1]
    assert set(source.files["photo"]) == {"pier1/IMG_1.png", f"{second}/IMG_1.png"}
    assert set(cracked["photo"]) == {"pier1/IMG_1.png"}
    assert source.warnings == ["photos without mask, which are not used: 1, such as pier1/IMG_2.png"]


def test_folders_of_photos_with_masks_and_with_annotations_are_two_sources(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for pier in ("pier1", "pier2"):
        write_photo(folder / f"{pier}/IMG_1.png", seed=1)
    write_mask(folder / "pier1/masks/IMG_1.png")
    write_coco(folder / "pier2/coco.json", ("IMG_1.png", []))
    with pytest.raises(
        InputError, match=r"several layouts: photos in .*pier1; photos in .*pier2\. .* separate sources"
    ):
        opened(folder, tmp_path / "scratch")


def test_coco_and_what_does_not_fit(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        write_photo(tmp_path / f"data/{name}.png", seed=ord(name))
    folder = tmp_path / "data"
    line = [10, 28, 120, 32, 120, 36, 10, 32]
    beyond = [150, 100, 400, 100, 400, 104, 150, 104]
    write_coco(folder / "coco.json", ("a.jpg", [line]), ("b.png", []), ("d.png", [beyond]), ("lost.png", [line]))
    source = opened(folder, tmp_path / "scratch")

    crack = source.files[source.files["label"] == 1]["path"].tolist()
    assert crack == ["a.png@0,0.png", "a.png@64,0.png", "d.png@128,64.png"]
    assert (source.files[source.files["photo"] == "b.png"]["label"] == 0).all()
    assert source.warnings == [
        "photos without annotation, which are not used: 1, such as c.png",
        "annotations that belong to no photo, or that fit several photos: 1, such as lost.png",
        "photos with shapes that are cut off at the edge of the photo: 1, such as d.png",
    ]


def test_a_photo_that_cannot_be_used_is_refused_with_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("good", "other size", "small", "broken", "no mask", "better", "best"):
        write_photo(folder / f"{name}.png", seed=len(name))
        write_mask(folder / f"masks/{name}.png")
    write_mask(folder / "masks/other size.png", width=100, height=70)
    write_photo(folder / "small.png", seed=9, width=300, height=50)
    write_mask(folder / "masks/small.png", width=300, height=50)
    (folder / "broken.png").write_bytes((folder / "broken.png").read_bytes()[:5000])

    (folder / "masks/no mask.png").write_bytes(b"text")

    source = opened(folder, tmp_path / "scratch")
    refused = dict(source.refused)
    assert sorted(refused) == ["broken.png", "no mask.png", "other size.png", "small.png"]
    assert refused["no mask.png"] == "its mask no mask.png: not an image"
    assert "its mask other size.png is 100x70 pixels, but the image is 200x140" in refused["other size.png"]
    assert "too small: 300x50 pixels, and a tile has 64x64" in refused["small.png"]
    assert set(source.files["photo"]) == {"good.png", "better.png", "best.png"}

    with pytest.raises(InputError, match=r"4 of the 7 photos in .* are refused, more than ingest.max_refused 0.1"):
        opened(folder, tmp_path / "scratch2", max_refused=0.1)


def test_a_damaged_jpeg_is_refused_and_not_cut_into_grey_tiles(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("1", "2"):
        pixels = write_photo(folder / f"{name}.png", seed=1)
        (folder / f"{name}.png").unlink()
        cv2.imwrite(str(folder / f"{name}.jpg"), pixels)
        write_mask(folder / f"masks/{name}.png")
    data = bytearray((folder / "1.jpg").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = b"\xff\xd0" * 20
    (folder / "1.jpg").write_bytes(data)
    assert [photo for photo, reason in opened(folder, tmp_path / "scratch").refused] == ["1.jpg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("?tile=0", "its option tile is '0'; give a whole number of pixels from 32 to 2048"),
        ("?tile=64.5", "its option tile is '64.5'"),
        ("?tile=64&layout=folders", "has none of the known layouts"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: str, message: str) -> None:
    write_photo(tmp_path / "data/1.png", seed=1)
    write_mask(tmp_path / "data/masks/1.png")
    with pytest.raises(InputError, match=re.escape(message)):
        opened(tmp_path / "data", tmp_path / "scratch", options)


def test_masks_and_annotations_exclude_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_photo(folder / "1.png", seed=1)
    write_coco(folder / "a.json", ("1.png", []))
    write_coco(folder / "b.json", ("1.png", []))
    with pytest.raises(InputError, match=r"the file a\.json \(COCO\); the file b\.json \(COCO\)\. Keep one form"):
        opened(folder, tmp_path / "scratch")
    write_mask(folder / "masks/1.png")
    with pytest.raises(InputError, match=r"b\.json \(COCO\); 1 masks, such as masks/1\.png\. Keep one form"):
        opened(folder, tmp_path / "scratch2")


def test_photos_of_more_than_8_bits_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    pixels = write_photo(folder / "1.png", seed=1)
    cv2.imwrite(str(folder / "1.png"), pixels.astype(np.uint16) * 16)
    write_mask(folder / "masks/1.png")
    source = opened(folder, tmp_path / "scratch")
    assert "photos in files of more than 8 bits per channel: 1 (1 with 12 used bits)" in source.understood[1]


def test_the_option_tile_belongs_to_photos(tmp_path: Path) -> None:
    for name in ("crack", "no_crack"):
        write_photo(tmp_path / f"data/{name}/1.png", seed=1)
    with pytest.raises(InputError, match="the option tile is only for the layout photos, and this is folders"):
        opened(tmp_path / "data", tmp_path / "scratch")


def test_an_ingestion_groups_tiles_by_photo_and_cuts_known_photos_only_once(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    for number in range(5):
        write_photo(folder / f"{number}.png", seed=number)
        write_mask(folder / f"masks/{number}.png", cracked=number > 0)
    write_mask(folder / "masks/4.png", width=100, height=70)
    config = IngestConfig(store=store.uri, min_images=5, max_refused=0.3)

    def ingest():
        ingested = ingest_dataset(f"{folder}?tile={TILE}", tmp_path / "manifest", tmp_path / "page.html", config)
        return ingested, read_manifest(tmp_path / "manifest")

    first, manifest = ingest()
    assert first.counts["crack"] == 3 * 2
    assert first.counts["refused"] == 1
    photos = manifest.table["path"].str.partition("@")[0]
    assert manifest.table.groupby(photos)["group_id"].nunique().max() == 1
    assert manifest.table["group_id"].nunique() == 4
    page = (tmp_path / "page.html").read_text()
    assert "its mask 4.png is 100x70 pixels" in page
    assert "tiles of 64 pixels" in page

    # A further photo changes nothing about the others, and their tiles are not cut again.
    write_photo(folder / "5.png", seed=5)
    write_mask(folder / "masks/5.png")
    cut: list[str] = []
    imencode = cv2.imencode
    monkeypatch.setattr(
        "components.ingest.sources.photo_tiles._write", lambda path, pixels: _record(cut, path, pixels, imencode)
    )
    second, grown = ingest()
    assert {name.partition("@")[0] for name in cut} == {"5.png"}
    assert second.digest != first.digest
    both = manifest.table.merge(grown.table, on="sample_id", suffixes=("", "_then"))
    assert len(both) == len(manifest.table)
    assert (both["group_id"] == both["group_id_then"]).all()


def test_an_unusable_photo_that_is_added_is_named_although_the_data_stay_the_same(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "data"
    for number in range(4):
        write_photo(folder / f"{number}.png", seed=number)
        write_mask(folder / f"masks/{number}.png", cracked=number > 0)
    config = IngestConfig(store=store.uri, min_images=5, max_refused=0.3)
    first = ingest_dataset(f"{folder}?tile={TILE}", tmp_path / "manifest", tmp_path / "page.html", config)

    write_photo(folder / "bad.png", seed=7)
    write_mask(folder / "masks/bad.png", width=100, height=70)
    write_photo(folder / "unmarked.png", seed=8)
    second = ingest_dataset(f"{folder}?tile={TILE}", tmp_path / "manifest", tmp_path / "page.html", config)
    assert second.digest == first.digest
    assert (first.counts["refused"], second.counts["refused"]) == (0, 1)
    page = (tmp_path / "page.html").read_text()
    assert "its mask bad.png is 100x70 pixels" in page
    assert "photos without mask, which are not used: 1, such as unmarked.png" in page


def _record(cut: list[str], path: Path, pixels: np.ndarray, imencode) -> None:
    cut.append(path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imencode(".png", pixels)[1].tobytes())


@pytest.mark.parametrize("kind", ["objects", "zip"])
def test_photos_can_come_from_a_store_or_an_archive(tmp_path: Path, store: Store, kind: str) -> None:
    folder = tmp_path / "data"
    write_photo(folder / "pier/1.png", seed=1)
    write_mask(folder / "masks/pier/1.png")
    local = opened(folder, tmp_path / "local")
    if kind == "zip":
        address = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    else:
        store.put_folder("incoming", folder)
        address = f"{store.uri}/incoming"

    source = opened(address, tmp_path / "scratch")
    assert source.files.drop(columns="tag").equals(local.files.drop(columns="tag"))
    assert (source.files["tag"] != "").all()
    for one in (source, local):
        one.bring(one.files)
    for path in local.files["path"]:
        assert (source.folder / path).read_bytes() == (local.folder / path).read_bytes()


def tiles_of_photo(source: Source) -> dict[str, int]:
    return source.files.groupby("photo").size().to_dict()


@pytest.mark.parametrize("marks", ["YOLO", "COCO", "masks"])
def test_an_export_with_its_own_split_is_one_set_and_its_copies_share_their_photo(marks: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    copies = {"train": ("a_jpg.rf.1a", "a_jpg.rf.2b", "c"), "valid": ("b_PNG.rf.3c",), "test": ("a_jpg.rf.4d", "c")}
    inner = "images/" if marks == "YOLO" else ""
    line = [10, 28, 120, 32, 120, 36, 10, 32]
    for split, names in copies.items():
        for name in names:
            write_photo(folder / split / f"{inner}{name}.png", seed=len(split) + ord(name[-1]))
            if marks == "YOLO":
                (folder / split / "labels").mkdir(exist_ok=True)
                (folder / split / "labels" / f"{name}.txt").write_text("0 0.3 0.25 0.5 0.05\n")
            if marks == "masks":
                write_mask(folder / split / "masks" / f"{name}.png")
        if marks == "COCO":
            write_coco(folder / split / "_annotations.coco.json", *((f"{name}.png", [line]) for name in names))
    (folder / "data.yaml").write_text("names: [crack]\n")
    (folder / "README.roboflow.txt").write_text("an export")

    source = opened(folder, tmp_path / "scratch")
    assert (source.layout, source.warnings) == ("photos", [])
    assert tiles_of_photo(source) == {
        "a": 3 * 6,
        "b": 6,
        f"train/{inner}c.png": 6,
        f"test/{inner}c.png": 6,
    }
    cracked = source.files.groupby(source.files["path"].str.partition("@")[0])["label"].sum()
    assert (cracked == 2).all()
    assert source.understood[1] == (
        "its own split (test 2, train 3, valid 1) is not used, because the split step makes a new split"
    )
    source.bring(source.files)
    assert all((source.folder / path).exists() for path in source.files["path"])


def test_annotations_of_a_part_of_an_export_do_not_describe_photos_of_another_part(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("train/a.png", "valid/b.png"):
        write_photo(folder / name, seed=len(name))
    write_coco(folder / "train/_annotations.coco.json", ("b.png", []))
    write_coco(folder / "valid/_annotations.coco.json", ("b.png", []))
    source = opened(folder, tmp_path / "scratch")
    assert list(tiles_of_photo(source)) == ["valid/b.png"]
    assert source.warnings[1] == "annotations that belong to no photo, or that fit several photos: 1, such as b.png"


def test_a_table_of_classes_of_an_export_is_refused_by_name(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_photo(tmp_path / split / "a_jpg.rf.1.jpg", seed=1)
        (tmp_path / split / "_classes.csv").write_text("filename, crack, no_crack\na_jpg.rf.1.jpg, 1, 0\n")
    with pytest.raises(InputError, match=r"train/_classes.csv is Roboflow's table of classes.*as Folder Structure"):
        opened(tmp_path, tmp_path.parent / "scratch")
