import numpy as np
import pytest
import tifffile
from PIL import Image

from components.inspect.photo_reader import open_photo, preview
from components.inspect.tiff_rows import TiffRows
from components.shared.data.image_structure import ImageError

RNG = np.random.default_rng(5)
COLOURS = RNG.integers(0, 255, (300, 210, 3), dtype=np.uint8)
COMPRESSIONS = {"lzw": "tiff_lzw", "packbits": "packbits"}
TURNED = [(274, "H", 1, 6, True)]  # the orientation tag: turn 90 degrees clockwise to see it upright
BANDS = ((0, 64), (32, 96), (236, 300), (10, 20))  # the last one goes back


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (64, 64), "compression": "zlib"},
        {"tile": (64, 64), "compression": "zlib", "predictor": 2},
        {"rowsperstrip": 7, "compression": "zlib"},
        {"tile": (128, 64)},
        {"bigtiff": True, "tile": (64, 64), "compression": "zlib"},
        {"byteorder": ">", "rowsperstrip": 300},
        {},
    ],
    ids=str,
)
def test_rows_of_a_tiff_are_those_of_the_whole_image(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", COLOURS, photometric="rgb", **options)
    with open_photo(tmp_path / "a.tif") as photo:
        assert isinstance(photo, TiffRows)
        assert (photo.width, photo.height) == (210, 300)
        for top, bottom in BANDS:
            pixels, empty = photo.rows(top, bottom)
            assert np.array_equal(pixels, COLOURS[top:bottom])
            assert empty is None


def test_grey_transparency_and_no_data_are_read(tmp_path):
    alpha = np.full((300, 210, 1), 255, np.uint8)
    alpha[:100] = 0
    with_alpha = np.concatenate([COLOURS, alpha], axis=2)
    tifffile.imwrite(tmp_path / "alpha.tif", with_alpha, photometric="rgb", extrasamples=["unassalpha"], tile=(64, 64))
    with open_photo(tmp_path / "alpha.tif") as photo:
        pixels, empty = photo.rows(90, 110)
        assert np.array_equal(pixels, COLOURS[90:110])
        assert empty.all(axis=1).tolist() == [True] * 10 + [False] * 10

    grey = np.maximum(COLOURS[..., 0], 1)
    grey[:, :40] = 0
    tags = [(42113, "s", 0, "0")]
    tifffile.imwrite(tmp_path / "grey.tif", grey, photometric="minisblack", tile=(64, 64), extratags=tags)
    with open_photo(tmp_path / "grey.tif") as photo:
        pixels, empty = photo.rows(0, 20)
        assert np.array_equal(pixels[..., 1], grey[:20])
        assert empty.all(axis=0).sum() == 40
        assert not empty[:, 40:].any()


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib", "rowsperstrip": 7}, {"compression": "zlib", "tile": (64, 64)}, {"extratags": TURNED}],
    ids=str,
)
def test_the_mask_of_a_tiff_says_which_pixels_are_empty(tmp_path, options):
    seen = np.ones((300, 210), bool)
    seen[:95, 30:] = False
    of_photo = options if "extratags" in options else {"tile": (64, 64)}
    of_mask = {} if "extratags" in options else options
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(COLOURS, photometric="rgb", **of_photo)
        file.write(COLOURS[::2, ::2], photometric="rgb", subfiletype=1)
        file.write(seen, photometric=4, subfiletype=4, **of_mask)
    with open_photo(tmp_path / "a.tif") as photo:
        if "extratags" in options:
            seen = np.rot90(seen, -1)
        for top, bottom in ((0, 64), (32, 110), (90, 100)):
            assert np.array_equal(photo.rows(top, bottom).empty, ~seen[top:bottom])


def test_other_files_are_decoded_whole_and_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    for compression in COMPRESSIONS:
        Image.fromarray(COLOURS).save(tmp_path / f"{compression}.tif", compression=COMPRESSIONS[compression])
    with open_photo(tmp_path / "a.png") as photo:
        assert (photo.width, photo.height) == (300, 210)
        assert np.array_equal(photo.rows(0, 210).pixels, np.rot90(COLOURS, -1))
    for compression in COMPRESSIONS:
        with open_photo(tmp_path / f"{compression}.tif") as photo:
            assert np.array_equal(photo.rows(5, 9).pixels, COLOURS[5:9])


def test_a_preview_is_the_mean_of_the_pixels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COLOURS, photometric="rgb", tile=(64, 64))
    with open_photo(tmp_path / "a.tif") as photo:
        small = preview(photo, 100)
        assert small.shape == (100, 70, 3)
        expected = COLOURS.reshape(100, 3, 70, 3, 3).mean(axis=(1, 3))
        assert np.abs(small - expected).max() <= 1
        assert preview(photo, 1000).shape == COLOURS.shape


def test_a_damaged_file_is_an_error(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COLOURS, photometric="rgb", tile=(64, 64), compression="zlib")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    (tmp_path / "bad.tif").write_bytes(data)
    (tmp_path / "short.tif").write_bytes(b"II*\0\x08")
    with (
        open_photo(tmp_path / "bad.tif") as photo,
        pytest.raises(ImageError, match=r"part [0-9]+ of the TIFF file is damaged"),
    ):
        photo.rows(0, 300)
    with pytest.raises(ImageError), open_photo(tmp_path / "short.tif"):
        pass


def test_a_tiff_that_is_too_large_for_its_form_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("components.inspect.tiff_rows.MAX_PIXELS", 1000)
    tifffile.imwrite(tmp_path / "a.tif", COLOURS.astype(np.uint16), photometric="rgb")
    with (
        pytest.raises(
            ImageError, match=r"210x300 pixels, more than .* in parts, because it has 16 bits .* Save the photo"
        ),
        open_photo(tmp_path / "a.tif"),
    ):
        pass
