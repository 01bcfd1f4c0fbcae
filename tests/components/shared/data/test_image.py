"""Decoding of every usual kind of file, against Pillow's reading of the same bytes and the pixels that went in."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from components.shared.data.image import ImageError, decode, decode_mask

SMOOTH = np.add.outer(np.arange(60) * 2, np.arange(80))[..., None] * np.array([1.0, 0.7, 0.4])
PIXELS = SMOOTH.clip(0, 255).astype(np.uint8)  # (60, 80, 3): a colour gradient, so that axes and channels differ


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture() -> Image.Image:
    return Image.fromarray(PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_lossless_files_give_the_pixels_back(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    image = decode(encode(picture(), kind, **options))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, PIXELS)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_is_decoded_as_pillow_does(options: dict) -> None:
    data = encode(picture(), "JPEG", quality=95, **options)
    expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    assert np.abs(decode(data).astype(int) - expected).max() <= 2


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn 90 degrees clockwise to see it upright"
    for kind in ("JPEG", "PNG", "TIFF"):
        image = decode(encode(picture(), kind, exif=exif))
        assert image.shape == (80, 60, 3)
        assert np.abs(image.astype(int) - np.rot90(PIXELS, -1)).mean() < 3


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA"])
def test_other_modes_become_rgb(mode: str) -> None:
    other = picture().convert(mode)
    image = decode(encode(other, "PNG"))
    np.testing.assert_array_equal(image, np.asarray(other.convert("RGB")))


def test_transparent_pixels_keep_their_colour() -> None:
    clear = np.dstack([PIXELS, np.zeros((60, 80), np.uint8)])
    np.testing.assert_array_equal(decode(encode(Image.fromarray(clear), "PNG")), PIXELS)


def test_cmyk_keeps_its_colours() -> None:
    image = decode(encode(picture().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(image.astype(int) - PIXELS).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("brightest", [200, 65535])
def test_sixteen_bits_are_scaled_not_clipped(kind: str, brightest: int) -> None:
    grey = np.linspace(0, brightest, 60 * 80).reshape(60, 80).astype(np.uint16)
    image = decode(encode(Image.fromarray(grey), kind))
    assert np.abs(image[..., 0].astype(int) - grey / 257).max() <= 1
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize(
    ("kind", "rest"),  # zeros are pixels like any others in the formats but JPEG and PNG
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


def test_png_whose_pixels_still_decode_is_refused_by_its_checksum() -> None:
    data = bytearray(encode(picture(), "PNG", compress_level=0))  # stored as they are: any byte will do for a pixel
    data[len(data) // 2] ^= 0x80
    with pytest.raises(ImageError, match="not a whole image: a checksum of the PNG data is wrong"):
        decode(bytes(data))


@pytest.mark.parametrize("data", [b"", b"hello, I am text\n" * 100, b"\xff\xd8\xff\xd9", b"%PDF-1.4 \xff\xd9"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode(data)


def test_trailing_bytes_do_no_harm() -> None:
    np.testing.assert_array_equal(decode(encode(picture(), "PNG") + b"\n"), PIXELS)


@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_either_scale_are_true_where_bright(high: int) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 10:] = high
    found = decode_mask(encode(Image.fromarray(mask), "PNG"))
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, mask > 0)


def test_black_mask_is_empty() -> None:
    assert not decode_mask(encode(Image.fromarray(np.zeros((20, 30), np.uint8)), "PNG")).any()
