"""Damaged images are refused wherever the damage can be seen, and nothing crashes."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from components.ingest import examination
from components.ingest.config import IngestConfig
from components.ingest.examination import examine
from components.ingest.jpeg_warnings import listening
from components.ingest.thumbnails import blank
from components.shared.data.image import Decoded
from tests.fuzz.fuzz_images import fuzz


def test_damaged_images_of_every_kind() -> None:
    outcomes = fuzz(120, seed=7)
    assert sum(outcomes.values()) == 120
    assert sum(number for (*_, outcome), number in outcomes.items() if outcome == "refused") >= 50


def test_jpegs_damaged_in_the_middle_are_found_among_good_ones(tiles: Path) -> None:
    damaged = {"crack/p0_3.jpg", "no_crack/p2_10.jpg", "crack/p5_23.jpg"}
    for name in damaged:
        data = (tiles / name).read_bytes()
        middle = data.index(b"\xff\xda") + 200
        (tiles / name).write_bytes(data[:middle] + random.Random(name).randbytes(200) + data[middle + 200 :])
    names = sorted(path.relative_to(tiles).as_posix() for path in tiles.rglob("*.jpg"))
    files = pd.DataFrame({"path": names * 20, "mask": None})
    found = examine(files, tiles, blank(len(files)), IngestConfig())

    assert set(files["path"][found["reason"].notna()]) == damaged
    assert set(files["path"][found["reason"].isna()]) == set(names) - damaged
    assert found["reason"].dropna().str.startswith("not a whole image: ").all()


def tiff_with_one_bit_mask(path: Path) -> None:
    """A TIFF file whose second directory is a mask with 1 bit per pixel. Pillow raises SyntaxError."""
    with tifffile.TiffWriter(path) as file:
        file.write(np.full((64, 64, 3), 90, np.uint8), photometric="rgb")
        file.write(np.ones((64, 64), bool), photometric=4, subfiletype=4)


def tiff_without_size(path: Path) -> None:
    """A TIFF file whose directory has two entries only. Pillow raises TypeError."""
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8))
    data = bytearray(path.read_bytes())
    directory = int.from_bytes(data[4:8], "little")
    data[directory : directory + 2] = b"\x02\x00"
    path.write_bytes(data)


@pytest.mark.parametrize("write", [tiff_with_one_bit_mask, tiff_without_size])
def test_error_of_any_kind_concerns_one_file_only(tiles: Path, write: Callable[[Path], None]) -> None:
    write(tiles / "crack" / "odd.tif")
    names = ["crack/odd.tif", "crack/p0_1.jpg"]
    found = examine(pd.DataFrame({"path": names, "mask": None}), tiles, blank(2), IngestConfig())
    odd, good = found["reason"]
    assert pd.isna(odd) or odd.strip()
    assert pd.isna(good)


def test_unexpected_error_of_a_decoder_refuses_the_file(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> Decoded:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("components.ingest.examination.decode_with_depth", broken)
    found = examine(pd.DataFrame({"path": ["crack/p0_1.jpg"], "mask": None}), tiles, blank(1), IngestConfig())
    assert found["reason"].item() == "cannot be read: ZeroDivisionError: by zero"


@pytest.mark.parametrize("name", ["find_landmarks", "perceptual_hash", "_grey_levels"])
def test_error_of_a_measurement_refuses_only_this_file(name: str, tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = getattr(examination, name)
    calls = []

    def broken_at_first(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            raise cv2.error("assertion failed")
        return measure(*arguments)

    monkeypatch.setattr(examination, name, broken_at_first)
    files = pd.DataFrame({"path": ["crack/p0_1.jpg", "crack/p0_3.jpg"], "mask": None})
    found = examine(files, tiles, blank(2), IngestConfig())
    assert found["reason"][0] == "cannot be read: error: assertion failed"
    assert pd.isna(found["reason"][1])


def test_other_output_on_stderr_is_not_lost(capfd) -> None:
    with listening() as messages:
        os.write(2, b"a warning of another library\n")
        before = messages.size()
        os.write(2, b"Corrupt JPEG data: bad Huffman code\n")
        assert messages.damage_since(0) == messages.damage_since(before) == "Corrupt JPEG data: bad Huffman code"
        assert messages.damage_since(messages.size()) == ""
    os.write(2, b"and after it\n")

    assert capfd.readouterr().err == "a warning of another library\nand after it\n"
