import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from components.register.run import register_winner
from components.shared.services import mlflow_runs
from pipelines.cli.main import app
from tests.components.register.conftest import winner  # noqa: F401 (a fixture)
from tests.tiny_version import tile


def call(*arguments: object):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of nine tiles of 48 px; the one in the middle is dark."""
    rows = []
    for row in range(3):
        files = [tile(row == column == 1, 3 * row + column) for column in range(3)]
        rows.append(cv2.hconcat([cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR) for file in files]))
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), cv2.vconcat(rows))
    return path


def test_a_registered_version_answers_a_photo_as_predict_answers_its_tile(winner, photo, tmp_path):  # noqa: F811
    register_winner(*winner, job="job-1")
    mlflow_runs.client().set_registered_model_alias("crack-classifier", "champion", "1")
    out = tmp_path / "out"
    # The version was trained before sizes were recorded, so a tile has the size of the network's input, 32 px.
    one_tile = tmp_path / "tile.png"
    cv2.imwrite(str(one_tile), cv2.imread(str(photo))[:32, :32])
    done = call(photo, one_tile, "--out", out, "--scale", "0.5")
    assert done.exit_code == 0, done.output
    assert "2 photos inspected by crack-classifier version 1" in done.output
    with (out / "photos.csv").open(newline="") as file:
        photos = list(csv.DictReader(file))
    assert [(row["tile_px"], row["mm_per_px"]) for row in photos] == [("32", "0.5")] * 2
    assert json.loads((out / "findings.geojson").read_text())["type"] == "FeatureCollection"

    answers = tmp_path / "answers.csv"
    predicted = CliRunner().invoke(app, ["predict", str(one_tile), "--out", str(answers)])
    assert predicted.exit_code == 0, predicted.output
    with answers.open(newline="") as file:
        (answer,) = csv.DictReader(file)
    (table,) = (out / "tiles").glob("tile-*.csv")
    with table.open(newline="") as file:
        (inspected,) = csv.DictReader(file)
    for name in ("p_crack", "novelty"):
        assert float(inspected[name]) == pytest.approx(float(answer[name]), rel=1e-3), name
    assert inspected["triage"] == answer["label"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "0"], "--scale is 0; give a finite number above 0, such as 0.3"),
        (["--scale", "nan"], "--scale is nan; give a finite number above 0"),
        (["--distance", "-2"], "--distance is -2; give a finite number above 0"),
        (["--overlap", "1"], "--overlap is 1, but it must be from 0 to 0.9"),
    ],
)
def test_an_impossible_setting_is_reported_before_a_model_is_loaded(photo, tmp_path, options, message):
    done = call(photo, "--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "out").exists()


def test_a_path_without_photos_is_reported(tmp_path):
    done = call(tmp_path / "nowhere", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "matches no file" in done.output
