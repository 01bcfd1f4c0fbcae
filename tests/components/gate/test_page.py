"""Test the page "Should CANDIDATE be promoted?" in the dossier."""

import json
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.gate.config import ChampionConfig, GateConfig, Limit
from components.gate.run import Evidence, Measured, Pages, write_dossier
from components.shared.data.image import decode
from components.shared.data.manifest import make_manifest, read_manifest, read_splits, rows_of, write_manifest
from components.shared.results.calibration import Calibration, write_calibration
from components.shared.results.measurements import Measurement, write_measurements
from components.shared.results.predictions import empty_predictions, read_predictions, write_predictions
from components.shared.services.store import Store
from tests.tiny_version import commit_tiny_version

CONFIG = GateConfig(candidate="cnn", limits=(Limit(name="auroc", limit=0.8),), champion=ChampionConfig(shown=2))


@pytest.fixture
def evidence(store: Store, tmp_path: Path):
    """Write the files for a verdict. Candidate and champion give as many wrong answers as the arguments say."""
    manifest, path, splits = commit_tiny_version(store, tmp_path, images=240)
    rows = rows_of(manifest, read_splits(splits), "test")

    def answers(folder: str, missed: list[int], alarms: list[int]) -> Path:
        margin = np.where(rows["label"] == 1, 2.0, -2.0)
        for label, wrong in ((1, missed), (0, alarms)):
            places = np.flatnonzero(rows["label"] == label)[wrong]
            margin[places] *= -1.0 - 0.1 * np.arange(len(places))

        columns = ["sample_id", "group_id", "source", "surface", "label"]
        table = rows[columns].assign(split="test", condition="after", corruption="clean", severity=0)
        table = table.assign(logit_0=0.0, logit_1=margin)

        write_predictions(table, np.zeros((len(table), 1)), tmp_path / folder)
        write_calibration(Calibration(), tmp_path / folder / "calibration.json")
        return tmp_path / folder

    def make(candidate: tuple, champion: tuple | None) -> Evidence:
        mine = answers("mine", *candidate)
        theirs = tmp_path / "nobody" if champion is None else answers("theirs", *champion)
        if champion is None:
            write_predictions(empty_predictions().table, empty_predictions().embeddings, theirs)
        write_measurements([Measurement("auroc", 0.9, low=0.85, high=0.93)], tmp_path / "measured")

        write_measurements([], tmp_path / "nothing")
        any_file = str(tmp_path / "nothing")
        return Evidence(
            measured=Measured(str(tmp_path / "measured"), any_file, any_file),
            pages=Pages(any_file, any_file, any_file, any_file),
            calibration=str(mine / "calibration.json"),
            reference_profile=any_file,
            panels=str(mine),
            manifest=str(path),
            predictions=str(mine),
            champion=str(theirs),
            version="" if champion is None else "7",
        )

    return make


def test_missed_cracks_come_first_with_their_tiles(evidence, s3: str, tmp_path: Path) -> None:
    found = evidence(([0, 1, 2], [0]), ([5], [1]))
    write_dossier(found, tmp_path / "dossier", CONFIG.model_copy(update={"store": s3}))
    page = (tmp_path / "dossier" / "promotion.html").read_text()
    headings = [
        "Cracks that only the champion finds: 3",
        "Cracks that only the candidate finds: 1",
        "False alarms that only the candidate raises: 1",
        "False alarms that only the champion raises: 1",
    ]

    places = [page.index(heading) for heading in ["Compared with the champion", *headings]]
    assert places == sorted(places)
    tiles = re.findall(r'data:image/jpeg;base64,([^"]+)" alt="tile with label (\w+)"', page)
    assert [label for _, label in tiles] == [
        "crack",
        "crack",
        "crack",
        "no_crack",
        "no_crack",
    ]  # 2 of each are shown
    first = decode(b64decode(tiles[0][0]))
    last = decode(b64decode(tiles[-1][0]))
    assert first.mean() < 100 < last.mean()  # the tiles with cracks are dark

    assert "These are the 2 tiles on which the two values of P(crack) differ most." in page
    assert "champion, version 7" in page

    assert (tmp_path / "dossier" / "panels" / "calibration.json").is_file()  # a folder is copied with all its files

    pairs = pd.read_parquet(tmp_path / "dossier" / "champion_pairs.parquet")
    assert ((pairs["label"] == 1) & ~pairs["crack"] & pairs["crack_champion"]).sum() == 3


def test_the_champion_is_judged_at_its_own_threshold(evidence, s3: str, tmp_path: Path) -> None:
    found = evidence(([], []), ([], []))
    write_calibration(Calibration(threshold=0.99), Path(found.champion) / "calibration.json")
    write_dossier(found, tmp_path / "dossier", CONFIG.model_copy(update={"store": s3}))
    pairs = pd.read_parquet(tmp_path / "dossier" / "champion_pairs.parquet")
    assert not pairs["crack_champion"].any()
    assert (pairs["crack"] == pairs["label"]).all()


def test_the_page_of_a_first_model_shows_only_the_limits(evidence, s3: str, tmp_path: Path) -> None:
    verdict = write_dossier(evidence(([0], []), None), tmp_path / "dossier", CONFIG.model_copy(update={"store": s3}))
    page = (tmp_path / "dossier" / "promotion.html").read_text()
    assert verdict["passed"]
    assert "The candidate passed the gate." in page
    assert "There is no champion yet, so only the limits in the parameter file matter." in page
    assert "≥ 0.8" in page
    assert "Tiles on which the two models disagree" not in page
    assert "Sound concrete" not in page
    assert not (tmp_path / "dossier" / "champion_pairs.parquet").exists()


def test_sound_concrete_that_looks_cracked_is_shown_and_warned_of(
    evidence, s3: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = evidence(([], [0, 1, 2, 3]), None)
    predictions = read_predictions(found.predictions)
    manifest = read_manifest(found.manifest).table
    sound = {0: "walls", 1: "decks"}
    write_manifest(make_manifest(manifest.assign(source=manifest["label"].map(sound))), found.manifest)
    table = predictions.table.assign(source=predictions.table["label"].map(sound))
    # The four false alarms have a P(crack) of 0.88, 0.9, 0.92 and 0.93.
    write_predictions(table, predictions.embeddings, found.predictions)

    config = CONFIG.model_copy(update={"store": s3, "wrong_tiles": 2})
    write_dossier(found, tmp_path / "dossier", config)
    page = (tmp_path / "dossier" / "promotion.html").read_text()
    section = page[page.index("Sound concrete that looks cracked") :]
    assert "P(crack) of 3 tiles is at least 0.9. The 2 tiles with the highest P(crack) are shown." in section
    assert re.findall(r"<td[^>]*>(0\.\d{3})</td>", section) == ["0.931", "0.917"]
    assert section.count("data:image/jpeg;base64,") == 2
    assert section.count('<td class="short">walls</td>') == 2
    [warning] = [record.message for record in caplog.records if "sound concrete" in record.message]
    assert "although their source is sound concrete: 3; the first is " in warning
    assert ".png of walls with P(crack) 0.931" in warning


def test_a_worse_candidate_is_refused_on_the_page_too(evidence, s3: str, tmp_path: Path) -> None:
    found = evidence((list(range(10)), []), ([], []))
    verdict = write_dossier(found, tmp_path / "dossier", CONFIG.model_copy(update={"store": s3}))
    page = (tmp_path / "dossier" / "promotion.html").read_text()
    assert json.loads((tmp_path / "dossier" / "verdict.json").read_text()) == verdict
    assert verdict["champion"]["verdict"] == "worse"
    assert 'class="callout fail"' in page

    reasons = page[page.index("The gate refused the candidate.") : page.index('id="the-gate-s-limits"')]
    for row in verdict["rows"]:
        assert (row["why"] in reasons) is not row["passed"]
    assert re.search(r"recall</td>.*?✗ worse", page, re.DOTALL)
