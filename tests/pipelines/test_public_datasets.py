"""The public data sets: counts, licences, and the check of a download."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.public_datasets import PUBLIC


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["datasets", *arguments])


def test_the_counts_are_the_published_totals():
    sdnet = PUBLIC["sdnet2018"].counts
    assert sum(sdnet.values()) == 56_092
    cracked = sum(count for part, count in sdnet.items() if part[2] == "C")
    assert cracked / 56_092 == pytest.approx(0.151, abs=5e-4)
    assert sum(PUBLIC["ccic"].counts.values()) == 40_000


def test_the_list_names_doi_and_licence():
    shown = invoke().stdout
    for dataset in PUBLIC.values():
        assert dataset.doi in shown
        assert dataset.licence in shown


def test_the_list_names_layouts_copies_and_archives():
    shown = " ".join(invoke().stdout.split())
    for words in ("Decks/Cracked", "train, valid, test", "IMG_1_jpg.rf.HASH.jpg", "RAR, 7z", "Deflate64"):
        assert words in shown


def test_a_part_of_a_set_is_recognised_and_reported_as_a_part(real_data: Path):
    shown = invoke("--check", str(real_data / "ccic")).stdout
    assert "Positive: 1,500 files; the published data set has 20,000" in shown
    assert "ccic, incomplete or changed" in shown.replace("\n", " ")


def test_a_folder_of_another_layout_is_refused(tmp_path: Path):
    for name in ("crack", "no_crack"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tile.png").touch()
    result = invoke("--check", str(tmp_path))
    assert result.exit_code == 2
    assert "give the folder of a public data set, whose layout is one of" in result.stderr
    assert invoke("--check", str(tmp_path / "gone")).exit_code == 2
