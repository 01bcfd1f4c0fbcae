"""Decode every usual kind of file, and compare with Pillow's result and with the pixels that were saved."""

import re
import resource
import struct
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from components.collect.production_images import ProductionImages
from components.ingest.config import IngestConfig
from components.ingest.examination import examine
from components.ingest.thumbnails import blank
from components.inspect.photo_reader import open_photo
from components.shared.data.image import (
    ImageError,
    decode,
    decode_filled,
    decode_mask,
    decode_with_depth,
    empty_pixels,
    read_header,
)
from components.shared.data.image_features import describe_image
from components.shared.data.image_kinds import KINDS, passed_over
from components.shared.network.resize import Resize
from components.shared.network.tiles import decode_tile
from pipelines.image_files import find_images
from pipelines.registry.classify import Answer, classify

ROOT = Path(__file__).parents[4]
SMOOTH = np.add.outer(np.arange(60) * 2, np.arange(80))[..., None] * np.array([1.0, 0.7, 0.4])
PIXELS = SMOOTH.clip(0, 255).astype(np.uint8)  # (60, 80, 3): a colour gradient, so that axes and channels differ


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo() -> Image.Image:
    return Image.fromarray(PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_lossless_files_give_the_pixels_back(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    image = decode(encode(photo(), kind, **options))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, PIXELS)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_is_decoded_as_pillow_does(options: dict) -> None:
    data = encode(photo(), "JPEG", quality=95, **options)
    expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    assert np.abs(decode(data).astype(int) - expected).max() <= 2


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn 90 degrees clockwise to see it upright"
    for kind in ("JPEG", "PNG", "TIFF"):
        image = decode(encode(photo(), kind, exif=exif))
        assert image.shape == (80, 60, 3)
        assert np.abs(image.astype(int) - np.rot90(PIXELS, -1)).mean() < 3


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA"])
def test_other_modes_become_rgb(mode: str) -> None:
    other = photo().convert(mode)
    image = decode(encode(other, "PNG"))
    np.testing.assert_array_equal(image, np.asarray(other.convert("RGB")))


def test_transparent_pixels_keep_their_colour() -> None:
    clear = np.dstack([PIXELS, np.zeros((60, 80), np.uint8)])
    np.testing.assert_array_equal(decode(encode(Image.fromarray(clear), "PNG")), PIXELS)


def test_pixels_that_show_nothing_are_found_and_refused_by_ingest(tmp_path: Path) -> None:
    clear = np.zeros((60, 80), bool)
    clear[:20, :40] = True
    transparent = Image.fromarray(np.dstack([PIXELS, np.where(clear, 0, 255).astype(np.uint8)]))
    map_of_twelve_bits = np.where(clear, 65535, TWELVE_BITS[..., 0]).astype(np.uint16)
    files = {
        "alpha.png": encode(transparent, "PNG"),
        "alpha.webp": encode(transparent, "WEBP", lossless=True),
        "palette.gif": encode(transparent, "GIF"),
        "alpha.tif": encode(transparent, "TIFF"),
        "map.tif": tiff(map_of_twelve_bits, extratags=[(42113, "s", 0, "65535", True)]),
        "deep_map.tif": tiff(
            np.where(clear[..., None], 65535, TWELVE_BITS).astype(np.uint16),
            photometric="rgb",
            extratags=[(42113, "s", 0, "65535", True)],
        ),
        "mask.tif": tiff_of_pages((PIXELS, RGB), (~clear, MASK)),
        "deflated_mask.tif": tiff_of_pages((PIXELS, RGB), (~clear, MASK | {"compression": "zlib", "rowsperstrip": 7})),
        "mask_of_bytes.tif": mask_of_bytes(~clear),
        "turned_mask.tif": tiff_of_pages((np.rot90(PIXELS), RGB | {"extratags": TURNED}), (np.rot90(~clear), MASK)),
        "half_mask_half_no_data.tif": tiff_of_pages(
            (np.where(clear[..., None] & LEFT, 7, PIXELS | 8), RGB | {"extratags": [(42113, "s", 0, "7", True)]}),
            (~clear | LEFT[..., 0], MASK),
        ),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(empty_pixels(data), clear, name)
    found = examine(pd.DataFrame({"path": list(files), "mask": None}), tmp_path, blank(len(files)), IngestConfig())
    why = (
        "800 of its 4800 pixels are transparent or marked as without data; crop the image so that it has no such pixels"
    )
    assert set(found["reason"]) == {why}
    for data in files.values():
        with pytest.raises(ImageError, match=why):
            decode_filled(data)

    opaque = encode(photo().convert("RGBA"), "PNG")
    assert not empty_pixels(opaque).any()
    assert empty_pixels(encode(photo(), "PNG")) is None


def test_a_mask_on_a_transparent_ground_marks_what_is_drawn() -> None:
    drawn = np.zeros((60, 80), bool)
    drawn[10:12] = True
    white = np.dstack([np.full((60, 80, 3), 255, np.uint8), np.where(drawn, 255, 0).astype(np.uint8)])
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(white), "PNG")), drawn)


def test_cmyk_keeps_its_colours() -> None:
    image = decode(encode(photo().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(image.astype(int) - PIXELS).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("brightest", "white"), [(200, 255), (1000, 1023), (4080, 4095), (9000, 16383), (65535, 65535)]
)
def test_sixteen_bits_are_scaled_by_the_bits_that_are_used(kind: str, brightest: int, white: int) -> None:
    grey = np.linspace(0, brightest, 60 * 80).reshape(60, 80).astype(np.uint16)
    image = decode(encode(Image.fromarray(grey), kind))
    assert np.abs(image[..., 0] - grey * (255 / white)).max() <= 0.5
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def tiff_of_pages(*pages: tuple[np.ndarray, dict], big: bool = False) -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=big) as file:
        for pixels, options in pages:
            file.write(pixels, **options)
    return buffer.getvalue()


def mask_of_bytes(seen: np.ndarray) -> bytes:
    """A TIFF file whose mask has 8 bits per pixel. tifffile writes an overview, and we change its subfile type."""
    data = tiff_of_pages((PIXELS, RGB), (seen.astype(np.uint8) * 255, {"subfiletype": 1}))
    entry = struct.Struct("<HHII")
    assert data.count(entry.pack(254, 4, 1, 1)) == 1
    return data.replace(entry.pack(254, 4, 1, 1), entry.pack(254, 4, 1, 4))


def jpeg2000(values: np.ndarray, bits: int) -> bytes:
    """Encode without loss. OpenCV writes 16 bits, so we change the number in the header, and shift the values."""
    shifted = values.astype(int) + 2**15 - 2 ** (bits - 1)
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    bgr = shifted.astype(np.uint16)[..., ::-1] if values.ndim == 3 else shifted.astype(np.uint16)
    data = bytearray(cv2.imencode(".jp2", bgr, lossless)[1].tobytes())
    data[data.index(b"ihdr") + 14] = bits - 1
    sizes = data.index(b"\xff\x4f\xff\x51")
    for channel in range(1 if values.ndim == 2 else 3):
        data[sizes + 42 + 3 * channel] = bits - 1
    return bytes(data)


RGB = {"photometric": "rgb"}
MASK = {"photometric": 4, "subfiletype": 4}
SMALLER = RGB | {"subfiletype": 1}
LEFT = np.arange(80)[None, :, None] < 20
TWELVE_BITS = np.random.default_rng(0).integers(0, 4096, (60, 80, 3)).astype(np.uint16)
TURNED = [(274, "H", 1, 6, True)]  # the orientation tag: turn 90 degrees clockwise to see it upright


@pytest.mark.parametrize(
    "data",
    [
        cv2.imencode(".png", TWELVE_BITS[..., ::-1])[1].tobytes(),
        tiff(TWELVE_BITS),
        tiff(TWELVE_BITS, byteorder=">", compression="zlib"),
        tiff(np.dstack([TWELVE_BITS, np.zeros((60, 80), np.uint16)]), extrasamples=["unassalpha"]),
        b"P6 80 60 65535\n" + TWELVE_BITS.astype(">u2").tobytes(),
        b"P3 80 60 65535\n" + " ".join(map(str, TWELVE_BITS.ravel())).encode() + b"\n",
        jpeg2000(TWELVE_BITS, 16),
        jpeg2000(TWELVE_BITS, 12),
        jpeg2000(TWELVE_BITS, 16)[85:],
    ],
    ids=[
        "png",
        "tiff",
        "tiff of the other byte order",
        "tiff with alpha",
        "ppm",
        "ppm as text",
        "jpeg 2000 of 16 bits",
        "jpeg 2000 of 12 bits",
        "codestream of jpeg 2000",
    ],
)
def test_colours_of_twelve_bits_do_not_become_black(data: bytes) -> None:
    pixels, used_bits = decode_with_depth(data)
    assert np.abs(pixels - TWELVE_BITS * (255 / 4095)).max() <= 1
    assert used_bits == 12


def test_grey_of_twelve_bits_is_scaled_alike_in_all_kinds() -> None:
    grey = TWELVE_BITS[..., 0].copy()
    files = [encode(Image.fromarray(grey), "PNG"), tiff(grey), jpeg2000(grey, 16), jpeg2000(grey, 12)]
    files.append(b"P5 80 60 65535\n" + grey.astype(">u2").tobytes())
    for data in files:
        pixels, used_bits = decode_with_depth(data)
        assert np.abs(pixels - grey[..., None] * (255 / 4095)).max() <= 1
        assert used_bits == 12


@pytest.mark.parametrize("white", [300, 1000, 4095])
def test_the_white_of_a_ppm_file_is_the_one_that_it_names(white: int) -> None:
    colours = np.minimum(TWELVE_BITS, white // 2)
    for start, values in ((b"P6", colours), (b"P5", colours[..., 0])):
        pixels, used_bits = decode_with_depth(start + b" 80 60 %d\n" % white + values.astype(">u2").tobytes())
        assert np.abs(pixels - values.reshape(60, 80, -1) * (255 / white)).max() <= 1
        assert used_bits == 0


def test_sixteen_bits_are_turned_and_inverted_as_their_tags_say() -> None:
    expected = np.rot90(TWELVE_BITS, -1) * (255 / 4095)
    assert np.abs(decode(tiff(TWELVE_BITS, extratags=TURNED)) - expected).max() <= 0.5
    grey = TWELVE_BITS[..., 0].copy()
    inverted = decode(tiff(grey, photometric="miniswhite"))[..., 0]
    assert np.abs(inverted - (255 - grey * (255 / 4095))).max() <= 0.5


@pytest.mark.parametrize(
    ("pixels", "options", "why"),
    [
        (
            np.float32(TWELVE_BITS[..., 0]),
            {},
            "the file does not define the value of white; convert the image to 8 or 16 bits",
        ),
        (np.int16(TWELVE_BITS[..., 0]), {}, "signed or 32-bit numbers"),
        (np.uint32(TWELVE_BITS[..., 0]), {}, "signed or 32-bit numbers"),
        (
            np.float32(TWELVE_BITS),
            {"photometric": "rgb"},
            "a TIFF file with an unknown pixel format; save it with 8 bits per channel",
        ),
        (
            np.dstack([TWELVE_BITS, TWELVE_BITS[..., 0]]),
            {"photometric": "separated"},
            "it has 16 bits per channel in an unknown form; convert the image to 8 bits per channel",
        ),
        (
            np.moveaxis(TWELVE_BITS, 2, 0).copy(),
            {"photometric": "rgb", "planarconfig": "separate"},
            "it has 16 bits per channel in an unknown form; convert the image to 8 bits per channel",
        ),
    ],
    ids=["float", "signed", "32 bits", "float colours", "cmyk", "separate planes"],
)
def test_pixels_of_unknown_scale_are_refused_with_the_reason(pixels: np.ndarray, options: dict, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        decode(tiff(pixels, **options))


def test_the_first_image_of_a_photo_of_several_views_is_the_photo() -> None:
    other = Image.fromarray(255 - PIXELS)
    data = encode(photo(), "MPO", save_all=True, append_images=[other], quality=95)
    assert read_header(data) == ("JPEG", 80, 60)
    assert np.abs(decode(data).astype(int) - PIXELS).mean() < 3


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_motion_photo_is_a_jpeg_followed_by_a_video(options: dict) -> None:
    jpeg = encode(photo(), "JPEG", quality=95, **options)
    video = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40 + b"\xff\xda\x00\x08" * 30
    np.testing.assert_array_equal(decode(jpeg + video), decode(jpeg))
    with pytest.raises(ImageError, match="the end of the JPEG data is missing"):
        decode(jpeg[:-200] + b"\0" * 500)


@pytest.mark.parametrize(
    "pages",
    [
        [(PIXELS, RGB), (PIXELS[::2, ::2], SMALLER), (PIXELS[::4, ::4], SMALLER)],
        [(PIXELS, RGB | {"subifds": 2}), (PIXELS[::2, ::2], SMALLER), (PIXELS[::4, ::4], SMALLER)],
        [(PIXELS, RGB), (np.ones((60, 80), bool), MASK)],
        [(PIXELS, RGB), (np.ones((60, 80), bool), MASK), (np.ones((30, 40), bool), MASK | {"subfiletype": 5})],
        [(PIXELS, SMALLER)],
    ],
    ids=["overviews", "inner overviews", "mask", "overview of a mask", "an overview alone"],
)
def test_overviews_and_masks_of_a_tiff_are_not_other_photos(pages: list) -> None:
    for big in (False, True):
        np.testing.assert_array_equal(decode(tiff_of_pages(*pages, big=big)), PIXELS)


def test_a_tiff_whose_mask_is_cut_off_is_refused(tmp_path: Path) -> None:
    data = tiff_of_pages((PIXELS, RGB), (np.zeros((60, 80), bool), MASK))
    whole = tiff_of_pages((PIXELS, RGB))
    (tmp_path / "a.tif").write_bytes(data[: len(whole)])
    for refuses in (lambda: decode(data[: len(whole)]), lambda: open_photo(tmp_path / "a.tif").__enter__()):
        with pytest.raises(ImageError, match="not a whole image: a page of the TIFF file is missing"):
            refuses()


THUMBNAIL = PIXELS[::4, ::4].copy()
A_LARGER_ONE = "the first image of the file has 20x15 pixels, and another one has 80x60; save the one"


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([(THUMBNAIL, SMALLER), (PIXELS, RGB)], A_LARGER_ONE),
        ([(THUMBNAIL, SMALLER | {"subifds": 1}), (PIXELS, RGB)], A_LARGER_ONE),
        ([(THUMBNAIL, RGB | {"subifds": 1}), (PIXELS, RGB)], A_LARGER_ONE),
        ([(THUMBNAIL, RGB), (PIXELS, RGB)], A_LARGER_ONE),
        ([(np.ones((60, 80), bool), MASK), (PIXELS, RGB)], "first image is a mask|unknown pixel format"),
        ([(PIXELS, RGB), (np.ones((30, 40), bool), MASK)], "several masks, or a mask of another size"),
        ([(PIXELS, RGB), (np.ones((60, 80), bool), MASK), (np.ones((60, 80), bool), MASK)], "several masks"),
        ([(PIXELS, RGB), (PIXELS, RGB)], "not one photo: 2 frames or pages in one file; save one of them"),
    ],
    ids=[
        "thumbnail first",
        "photo inside the thumbnail",
        "photo inside, without marks",
        "smaller page first",
        "mask first",
        "small mask",
        "two masks",
        "two pages",
    ],
)
def test_a_tiff_that_does_not_begin_with_its_only_photo_is_refused(pages: list, why: str, tmp_path: Path) -> None:
    for big in (False, True):
        data = tiff_of_pages(*pages, big=big)
        (tmp_path / "a.tif").write_bytes(data)
        with pytest.raises(ImageError, match=why):
            decode(data)
        with pytest.raises(ImageError, match=why), open_photo(tmp_path / "a.tif"):
            pass


# Drawn with PIXELS and encoded once, because no encoder for HEIF has a permissive licence.
HEIF = {path.stem: path.read_bytes() for path in sorted(Path(__file__).with_name("heif").glob("*.heic"))}


def test_photos_of_phones_in_heif_are_decoded_upright_with_eight_bits() -> None:
    for name, data in HEIF.items():
        expected = np.rot90(PIXELS, -1) if name == "turned" else PIXELS
        image = decode(data)
        assert image.shape == expected.shape, name
        assert np.abs(image.astype(int) - expected).mean() < 2, name
        assert read_header(data) == ("HEIF", *expected.shape[1::-1]), name
    assert set(HEIF) == {"photo", "turned", "alpha", "ten_bits", "several"}


def test_a_heif_file_that_hides_its_size_is_refused_before_it_is_decoded() -> None:
    large, small = bytearray(HEIF["photo"]), bytearray(HEIF["photo"])
    place = HEIF["photo"].index(b"ispe") + 8
    large[place : place + 8] = (20_000).to_bytes(4) * 2
    small[place : place + 8] = (8).to_bytes(4) * 2
    with pytest.raises(ImageError, match=r"too large: 20000x20000 pixels, more than 178956970"):
        decode(bytes(large))
    with pytest.raises(ImageError, match="not a whole image"):
        decode(bytes(small))


def test_a_heif_file_whose_part_is_larger_than_the_image_is_refused() -> None:
    data = bytearray(HEIF["photo"])
    height = data.index(b"clap") + 12  # the part that the file shows: width and height, each with a denominator
    assert int.from_bytes(data[height : height + 4]) == 60
    data[height : height + 4] = (124).to_bytes(4)
    with pytest.raises(ImageError, match="its header says 80x124 pixels, but it holds 80x64"):
        decode(bytes(data))


def test_an_avif_photo_is_decoded() -> None:
    assert np.abs(decode(encode(photo(), "AVIF", quality=95)).astype(int) - PIXELS).mean() < 3


class Model:
    """In place of a registered model: it answers 0.5 for every image."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, images: list[str]) -> list[dict]:
        return [{"p_crack": 0.5} for _ in images]


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Path]], dict[str, Answer]]:
    """Classify files, and return the answers by the files' names."""
    monkeypatch.setattr("pipelines.registry.classify.ModelProcess", Model)

    def answers(files: list[Path]) -> dict[str, Answer]:
        return {Path(answer.path).name: answer for answer in classify("any", files, 8, lambda _: None, None)}

    return answers


def inspected(path: Path) -> tuple[int, ...] | str:
    """Return the shape of a photo as the inspection reads it, or why it is refused."""
    try:
        with open_photo(path) as opened:
            return opened.rows(0, opened.height).pixels.shape
    except ImageError as error:
        return str(error)


def test_every_accepted_kind_is_decoded_under_all_its_names_by_ingest_predict_inspect_and_collect(
    tmp_path: Path, predict: Callable
) -> None:
    names = []
    for kind, suffixes in KINDS.items():
        data = HEIF["photo"] if kind == "HEIF" else encode(photo(), kind)
        assert read_header(data)[:3] == (kind, 80, 60)
        names += [f"{number}{suffix.upper()}" for number, suffix in enumerate(suffixes)]
        for name in names[-len(suffixes) :]:
            (tmp_path / name).write_bytes(data)
    for name in ("notes.txt", "raw.DNG", "Thumbs.db", "._0.JPG"):
        (tmp_path / name).write_bytes(b"x")

    found = examine(pd.DataFrame({"path": names, "mask": None}), tmp_path, blank(len(names)), IngestConfig())
    assert found["reason"].isna().all()
    answers = predict(find_images([str(tmp_path)]))
    assert {name: answer.p_crack for name, answer in answers.items()} == dict.fromkeys(names, 0.5)
    assert {name: inspected(tmp_path / name) for name in names} == dict.fromkeys(names, (60, 80, 3))
    collected = {name: image.shape for name, image in ProductionImages(str(tmp_path), 1000).read()}
    assert collected == dict.fromkeys(names, (60, 80, 3))


def test_animations_pages_and_transparent_images_are_refused_alike(
    tmp_path: Path, predict: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    others = [Image.fromarray(255 - PIXELS), Image.fromarray(PIXELS // 2)]
    kinds = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")
    files = {f"several.{kind}": encode(photo(), kind, save_all=True, append_images=others) for kind in kinds}
    files["still.png"] = encode(photo(), "PNG", save_all=True, append_images=others, default_image=True)
    clear = np.dstack([PIXELS, np.zeros((60, 80), np.uint8)])
    files |= {f"clear.{kind}": encode(Image.fromarray(clear), kind) for kind in ("PNG", "WEBP", "TIFF")}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    names = list(files)
    found = examine(pd.DataFrame({"path": names, "mask": None}), tmp_path, blank(len(names)), IngestConfig())
    reasons = dict(zip(names, found["reason"], strict=True))
    assert {name: reason.partition(":")[0].partition(" of")[0] for name, reason in reasons.items()} == {
        **{name: "not one photo" for name in names if not name.startswith("clear")},
        **{name: "4800" for name in names if name.startswith("clear")},
    }
    answers = predict([tmp_path / name for name in names])
    assert {name: answer.error for name, answer in answers.items()} == reasons
    for name in names:
        if not name.startswith("clear"):
            assert inspected(tmp_path / name) == reasons[name]
        else:
            with open_photo(tmp_path / name) as opened:
                assert opened.rows(0, 60).empty.all()
    assert list(ProductionImages(str(tmp_path), 1000).read()) == []
    assert f"{len(names)} of {len(names)} images cannot be read and were skipped" in caplog.text


def test_predict_and_collect_count_the_images_of_more_than_8_bits(
    tmp_path: Path, predict: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "deep.png").write_bytes(cv2.imencode(".png", TWELVE_BITS)[1].tobytes())
    (tmp_path / "plain.png").write_bytes(encode(photo(), "PNG"))
    counted = "images in files of more than 8 bits per channel: 1 (1 with 12 used bits)"
    assert len(predict(find_images([str(tmp_path)]))) == 2
    assert counted in caplog.text
    caplog.clear()
    caplog.set_level("INFO")
    assert len(list(ProductionImages(str(tmp_path), 1000).read())) == 2
    assert counted in caplog.text


def test_files_that_a_search_passes_over_are_counted_by_kind() -> None:
    assert passed_over(["crack/1.JPG", "crack/.DS_Store", "no_crack/Thumbs.db", "crack/._1.JPG"]) == ""
    assert passed_over(["a/1.dng"]).startswith("1 file was skipped (1 .dng); the names of images end in .jpg, ")
    names = ["1.txt", "2.TXT", "raw/3.dng", "README", ".cache/4.jpg", "@eaDir/5.jpg", ".6.png"]
    assert passed_over(names).startswith("7 files were skipped (3 hidden, 2 .txt, 1 .dng, 1 without a suffix); ")


def eps() -> bytes:
    return encode(photo(), "EPS")


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears as soon as somebody starts Ghostscript."""
    programs, started = tmp_path / "programs", tmp_path / "started"
    programs.mkdir()
    for name in ("gs", "gswin64c"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {started}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return started


@pytest.mark.parametrize("name", ["crack.eps", "crack.jpg", "crack.png", "crack.tif"])
def test_no_process_is_started_for_an_eps_file_under_any_name(name: str, tmp_path: Path, ghostscript: Path) -> None:
    (tmp_path / name).write_bytes(eps())
    files = pd.DataFrame({"path": [name], "mask": None})
    found = examine(files, tmp_path, blank(1), IngestConfig())
    assert found["reason"].tolist() == ["not an image"]
    for decoder in (decode, read_header, lambda data: decode_tile(data, Resize(32))):
        with pytest.raises(ImageError, match="not an image"):
            decoder(eps())
    assert not ghostscript.exists()


def png_bomb(side: int) -> bytes:
    """A PNG of black pixels, one bit each."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    pixels = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    size = side.to_bytes(4) * 2
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\1\0\0\0\0") + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg_bomb(side: int) -> bytes:
    data = bytearray(encode(photo(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = side.to_bytes(2) * 2
    return bytes(data)


def gif_bomb(side: int) -> bytes:
    data = bytearray(encode(photo(), "GIF"))
    data[6:10] = side.to_bytes(2, "little") * 2
    return bytes(data)


def bmp_bomb(side: int) -> bytes:
    data = bytearray(encode(photo(), "BMP"))
    data[18:26] = side.to_bytes(4, "little") * 2
    return bytes(data)


@pytest.mark.parametrize("bomb", [png_bomb(32_000), jpeg_bomb(32_000), gif_bomb(32_000), bmp_bomb(32_000)])
def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(bomb: bytes, tmp_path: Path) -> None:
    assert len(bomb) < 200_000
    (tmp_path / "bomb.png").write_bytes(bomb)
    files = pd.DataFrame({"path": ["bomb.png"], "mask": None})
    memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()

    with pytest.raises(ImageError, match=r"too large: .*more than 178956970"):
        decode_tile(bomb, Resize(224))
    found = examine(files, tmp_path, blank(1), IngestConfig())
    assert found["reason"].str.startswith("too large: ").all()

    assert time.perf_counter() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100_000  # kilobytes


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_an_image_without_defined_features_is_refused_and_the_next_larger_one_has_all_of_them(kind: str) -> None:
    for size in [(1, 1), (2, 9), (9, 2)]:
        with pytest.raises(ImageError, match=f"too small: {size[0]}x{size[1]} pixels; an image needs at least 3"):
            decode(encode(Image.new("RGB", size), kind))
    for grey in (0, 128, 255):
        image = decode(encode(Image.new("RGB", (3, 3), (grey, grey, grey)), kind))
        assert np.isfinite(list(describe_image(image).values())).all()


@pytest.mark.parametrize("error", [SyntaxError, TypeError, KeyError, MemoryError, RecursionError, ZeroDivisionError])
def test_any_error_of_a_decoder_refuses_the_file(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error("deep inside")

    data = encode(photo(), "TIFF")
    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile.load", fail)
    with pytest.raises(ImageError, match=r"not a whole image: .*deep inside"):
        decode(data)
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageError, match=r"not a whole image: .*deep inside"):
        read_header(data)


def test_a_tiff_whose_directory_is_broken_is_refused() -> None:
    data = bytearray(tiff(PIXELS))
    directory = int.from_bytes(data[4:8], "little")
    data[directory : directory + 2] = b"\2\0"  # two entries, without the dimensions
    for reader in (decode, read_header):
        with pytest.raises(ImageError):
            reader(bytes(data))


def test_no_other_module_opens_image_files() -> None:
    opens = re.compile(r"Image\.open\(|cv2\.imread\(|cv2\.imdecode\(|plt\.imread|mpimg|iio\.")
    own_bytes = "components/predict/corruptions.py"  # decodes the JPEG that it has just encoded
    users = set()
    for folder in ("components", "pipelines"):
        for path in (ROOT / folder).rglob("*.py"):
            if opens.search(path.read_text(encoding="utf-8")):
                users.add(path.relative_to(ROOT).as_posix())
    decoders = {"components/shared/data/image.py", "components/shared/data/image_depth.py"}
    assert users == {*decoders, own_bytes}


@pytest.mark.parametrize(
    ("kind", "rest"),  # in the formats other than JPEG and PNG, zeros are valid pixels
    [
        *((kind, "missing") for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")),
        ("JPEG", "zeros"),
        ("PNG", "zeros"),
    ],
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_part_of_a_file_is_refused(kind: str, rest: str, share: float) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    part = data[: int(share * len(data))]
    if rest == "zeros":
        part += bytes(len(data) - len(part))
    with pytest.raises(ImageError, match=r"not a whole image|not an image"):
        decode(part)


def animated_gif() -> bytes:
    others = [Image.fromarray(255 - PIXELS), Image.fromarray(PIXELS // 2)]
    return encode(photo(), "GIF", save_all=True, append_images=others)


def test_an_animation_whose_end_is_missing_does_not_pass_as_its_first_frame() -> None:
    whole = animated_gif()
    for end in range(100, len(whole), 97):
        with pytest.raises(ImageError, match=r"not a whole image|not an image"):
            decode(whole[:end])
    with pytest.raises(ImageError, match="not a whole image: the GIF data end too early"):
        decode(whole[:-1])


def test_a_gif_of_one_frame_is_a_photo_with_any_blocks_around_it() -> None:
    grey = photo().convert("L")
    plain = encode(grey, "GIF")
    expected = decode(plain)
    variants = {
        "comment and loop": encode(grey, "GIF", comment=b"x" * 700, loop=0, save_all=True),
        "zeros before the end": plain[:-1] + b"\0\0;",
        "data after the end": plain + b"more",
    }
    for name, data in variants.items():
        np.testing.assert_array_equal(decode(data), expected, name)
    with pytest.raises(ImageError, match="not a whole image: the GIF data are damaged"):
        decode(plain[:-1] + b"?;")


def test_png_whose_pixels_still_decode_is_refused_by_its_checksum() -> None:
    data = bytearray(encode(photo(), "PNG", compress_level=0))  # uncompressed, so that any byte is a valid pixel
    data[len(data) // 2] ^= 0x80
    with pytest.raises(ImageError, match="not a whole image: a checksum of the PNG data is wrong"):
        decode(bytes(data))


@pytest.mark.parametrize("data", [b"", b"hello, I am text\n" * 100, b"\xff\xd8\xff\xd9", b"%PDF-1.4 \xff\xd9"])
def test_other_data_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode(data)


def test_trailing_bytes_are_ignored() -> None:
    np.testing.assert_array_equal(decode(encode(photo(), "PNG") + b"\n"), PIXELS)


@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_either_scale_are_true_where_bright(high: int) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 10:] = high
    found = decode_mask(encode(Image.fromarray(mask), "PNG"))
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, mask > 0)


def test_black_mask_is_empty() -> None:
    assert not decode_mask(encode(Image.fromarray(np.zeros((20, 30), np.uint8)), "PNG")).any()
