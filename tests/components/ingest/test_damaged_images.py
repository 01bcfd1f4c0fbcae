"""Damaged images are refused wherever the damage can be seen, and nothing crashes."""

import os
import random
from pathlib import Path

import pandas as pd

from components.ingest.config import IngestConfig
from components.ingest.examination import examine
from components.ingest.jpeg_warnings import listening
from components.ingest.thumbnails import blank
from tests.fuzz.fuzz_images import fuzz


def test_damaged_images_of_every_kind() -> None:
    outcomes = fuzz(100, seed=7)
    assert sum(outcomes.values()) == 100
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


def test_other_output_on_stderr_is_not_lost(capfd) -> None:
    with listening() as messages:
        os.write(2, b"a warning of another library\n")
        before = messages.size()
        os.write(2, b"Corrupt JPEG data: bad Huffman code\n")
        assert messages.damage_since(0) == messages.damage_since(before) == "Corrupt JPEG data: bad Huffman code"
        assert messages.damage_since(messages.size()) == ""
    os.write(2, b"and after it\n")
    assert capfd.readouterr().err == "a warning of another library\nand after it\n"
