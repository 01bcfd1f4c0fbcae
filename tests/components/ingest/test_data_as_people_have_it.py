"""Files of phones, cameras, scanners and mapping programs, ingested as they are."""

import json
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.shared.data.image import decode, decode_mask
from components.shared.data.manifest import Manifest, read_manifest
from components.shared.data.shards import ShardReader
from components.shared.data.versions import fetch
from components.shared.errors import InputError
from components.shared.services.store import Store
from tests.components.ingest.version_files import kept

Write = Callable[..., Path]
VIDEO = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(range(256)) * 40 + b"\xff\xda\x00\x08" * 30
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Brücke") for form in ("NFC", "NFD"))


def ingest(data: Path, store: Store, tmp_path: Path) -> tuple[Manifest, dict]:
    config = IngestConfig(store=store.uri, min_images=5, max_refused=0.4)
    result = ingest_dataset(str(data), tmp_path / "manifest", tmp_path / "page.html", config)
    return read_manifest(tmp_path / "manifest"), json.loads(kept(store, result.digest, "report.json"))


def crack(seed: int, size: int = 96) -> np.ndarray:
    """A grey tile with a dark crooked line in its left third, uint8 (size, size, 3)."""
    rng = np.random.default_rng(seed)
    grey = 150 + cv2.resize(rng.normal(0, 20, (9, 9)), (size, size)) + rng.normal(0, 4, (size, size))
    line = (size / 5 + np.cumsum(rng.normal(0, 0.7, size))).clip(2, size - 3).astype(int)
    for row, column in enumerate(line):
        grey[row, column - 1 : column + 2] -= 70
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def mask_of(image: np.ndarray) -> np.ndarray:
    grey = image[..., 0].astype(float)
    return (grey < grey.mean() - 40).astype(np.uint8) * 255


def save_turned(image: np.ndarray, path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(path, exif=exif, quality=97)


def broken_tiff(path: Path) -> None:
    """A TIFF file whose directory has two entries only, and no dimensions."""
    tifffile.imwrite(path, crack(1))
    data = bytearray(path.read_bytes())
    directory = int.from_bytes(data[4:8], "little")
    data[directory : directory + 2] = b"\x02\x00"
    path.write_bytes(data)


def test_odd_files_are_photos_or_refused_files_and_never_the_end(
    tiles: Path, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder, masks = tiles / "crack", tiles / "masks"
    masks.mkdir()
    photo = {name: crack(seed) for seed, name in enumerate(("mpo", "motion", "deep", "ortho", "masked", "turned"), 100)}
    Image.fromarray(photo["mpo"]).save(
        folder / "mpo.JPG", format="MPO", save_all=True, append_images=[Image.fromarray(crack(9))], quality=97
    )
    Image.fromarray(photo["motion"]).save(folder / "motion.MP.jpg", quality=97)
    (folder / "motion.MP.jpg").write_bytes((folder / "motion.MP.jpg").read_bytes() + VIDEO)
    cv2.imwrite(str(folder / "deep.png"), photo["deep"][..., 0].astype(np.uint16) * 16)  # 12 bits in 16
    with tifffile.TiffWriter(folder / "ortho.tif") as file:
        file.write(photo["ortho"], photometric="rgb", tile=(32, 32), subifds=0)
        file.write(photo["ortho"][::2, ::2], photometric="rgb", tile=(32, 32), subfiletype=1)
    with tifffile.TiffWriter(folder / "masked.tif") as file:
        file.write(photo["masked"], photometric="rgb")
        file.write(np.ones((96, 96), bool), photometric=4, subfiletype=4)
    broken_tiff(folder / "broken.tif")

    save_turned(photo["turned"], folder / "turned.jpg", 3)
    cv2.imwrite(str(masks / "turned.png"), mask_of(photo["turned"]))  # drawn on the stored pixels
    cv2.imwrite(str(folder / f"{COMPOSED}.jpg"), crack(110))
    cv2.imwrite(str(masks / f"{DECOMPOSED}.png"), mask_of(crack(110)))
    cv2.imwrite(str(masks / "p0_1_mask.png"), np.eye(64, dtype=np.uint8) * 255)
    cv2.imwrite(str(masks / "nobody.png"), np.eye(64, dtype=np.uint8) * 255)

    manifest, report = ingest(tiles, store, tmp_path)
    rows = manifest.table.set_index("path")
    reader = ShardReader(fetch(store, manifest, tmp_path / "cache"))

    def image(name: str) -> np.ndarray:
        row = rows.loc[f"crack/{name}"]
        return decode(reader.read(row["shard"], row["offset"], row["size"])).astype(int)

    def mask(name: str) -> np.ndarray:
        row = rows.loc[f"crack/{name}"]
        return decode_mask(reader.read(row["shard"], int(row["mask_offset"]), int(row["mask_size"])))

    assert [entry["path"] for entry in report["quarantine"]] == ["crack/broken.tif"]
    for name, file in {
        "mpo": "mpo.JPG",
        "motion": "motion.MP.jpg",
        "ortho": "ortho.tif",
        "masked": "masked.tif",
    }.items():
        assert np.abs(image(file) - photo[name]).mean() < 2
    assert np.abs(image("deep.png") - photo["deep"]).mean() < 2
    np.testing.assert_array_equal(mask("turned.jpg"), np.rot90(mask_of(photo["turned"]) > 0, 2))
    np.testing.assert_array_equal(mask(f"{COMPOSED}.jpg"), mask_of(crack(110)) > 0)
    assert mask("p0_1.jpg").sum() == 64

    counts = {name: report[name] for name in ("masks", "masks_turned", "masks_without_image", "cracks_without_mask")}
    assert counts == {"masks": 3, "masks_turned": 1, "masks_without_image": 1, "cracks_without_mask": 17}
    assert (report["scaled"], report["scaled_from"]) == (1, {"12": 1})
    page = (tmp_path / "page.html").read_text()
    assert "masks that belong to no image: 1, such as masks/nobody.png" in page
    scaled = (
        "images in files of more than 8 bits per channel: 1 (1 with 12 used bits). Each was scaled to 8 bits by the"
    )
    assert scaled in page
    assert scaled in caplog.text


def test_a_mask_that_contradicts_the_label_is_a_conflict(
    tiles: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    (tiles / "masks").mkdir()
    stray, full, empty = (np.zeros((64, 64), np.uint8) for _ in range(3))
    stray[0, :10] = 255
    full[:] = 255
    for name, mask in {"p0_1": empty, "p0_3": full, "p0_0": full, "p0_2": empty, "p1_4": stray}.items():
        if (tiles / "crack" / f"{name}.jpg").exists() or (tiles / "no_crack" / f"{name}.jpg").exists():
            cv2.imwrite(str(tiles / "masks" / f"{name}.png"), mask)
    manifest, report = ingest(tiles, store, tmp_path)
    reasons = {entry["path"]: entry["reason"] for entry in report["quarantine"]}
    prefix = "label and mask contradict each other: this is"
    assert reasons == {
        "crack/p0_1.jpg": f"{prefix} crack, its mask masks/p0_1.png marks no pixel",
        "no_crack/p0_0.jpg": f"{prefix} no_crack, its mask masks/p0_0.png marks 100.0 % of the pixels",
    }
    assert report["conflicts"] == 2
    assert {"crack/p0_3.jpg", "no_crack/p0_2.jpg", "no_crack/p1_4.jpg"} < set(manifest.table["path"])


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (9, "is compressed with Deflate64, which we cannot unpack. Either unpack it .`7z x`"),
        (98, "is compressed with PPMd, which"),
        (93, "is compressed with Zstandard, which"),
        (77, "is compressed with the unknown method 77, which"),
    ],
)
def test_zip_archives_of_other_compressions_are_named(
    method: int, words: str, tiles: Path, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "walls.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for image in sorted(tiles.rglob("*.jpg")):
            archive.write(image, image.relative_to(tiles))
    data = bytearray(path.read_bytes())
    for marker, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = 0
        while (start := data.find(marker, start)) >= 0:
            data[start + offset : start + offset + 2] = method.to_bytes(2, "little")
            start += 4
    path.write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        ingest(path, store, tmp_path)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"Rar!\x1a\x07\x01\x00", r"is a RAR archive, which we cannot unpack; unpack it with `unrar x .*walls.zip`"),
        (b"7z\xbc\xaf\x27\x1c\0\4", r"is a 7z archive, which we cannot unpack; unpack it with `7z x .*walls.zip`"),
        (b"\x28\xb5\x2f\xfd", r"is compressed with Zstandard, which we cannot unpack; unpack it with `tar --zstd -xf"),
        (b"PK\x03\x04" + bytes(30), "is a zip archive whose end is missing, which we cannot unpack; download it again"),
        (b"\r\n<!DOCTYPE HTML><html>", "is a web page, not an archive; download it again"),
        (b"%PDF-1.7", "is a PDF document, which we cannot unpack; give a folder of images"),
        (b"something else", "is neither a zip or tar archive nor a .csv"),
    ],
)
def test_archives_that_we_cannot_unpack_are_named(start: bytes, words: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / "walls.zip").write_bytes(start + bytes(2000))
    with pytest.raises(InputError, match=words):
        ingest(tmp_path / "walls.zip", store, tmp_path)


def test_a_workbook_is_not_an_archive_of_images(store: Store, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tiles.xlsx", "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(InputError, match="is a workbook of a spreadsheet program; save its table as CSV"):
        ingest(tmp_path / "tiles.xlsx", store, tmp_path)
