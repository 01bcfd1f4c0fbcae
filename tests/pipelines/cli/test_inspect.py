"""The command inspect, with a registered version."""

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from components.register.run import register_winner
from components.shared.services import mlflow_runs
from pipelines.cli.main import app
from tests.components.inspect.test_run import concrete
from tests.tiny_version import tile
from tests.unprivileged import unprivileged


def call(*arguments: object):
    with unprivileged():
        return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def photo_rows(out: Path) -> list[dict[str, str]]:
    with (out / "photos.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


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


def test_a_registered_version_answers_a_photo_as_predict_answers_its_tile(winner, unchecked, photo, tmp_path):
    register_winner(*winner, job="job-1")
    mlflow_runs.client().set_registered_model_alias("crack-classifier", "champion", "1")
    out = tmp_path / "out"
    # The version was trained before sizes were recorded, so a tile has the size of the network's input, 32 px.
    one_tile = tmp_path / "tile.png"
    cv2.imwrite(str(one_tile), cv2.imread(str(photo))[:32, :32])
    done = call(photo, one_tile, "--out", out, "--scale", "0.5")
    assert done.exit_code == 0, done.output
    assert "2 photos inspected by crack-classifier version 1" in done.output
    assert [(row["tile_px"], row["mm_per_px"]) for row in photo_rows(out)] == [("32", "0.5")] * 2
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


def test_photos_become_results_and_a_second_call_skips_them(winner, unchecked, tmp_path, caplog):
    register_winner(*winner, job="job-1")
    mlflow_runs.client().set_registered_model_alias("crack-classifier", "champion", "1")
    photos = tmp_path / "photos"
    (photos / "masks").mkdir(parents=True)
    Image.fromarray(concrete(120, 90)).save(photos / "pier.png")
    Image.fromarray(concrete(120, 90)).save(photos / "masks" / "pier.png")
    (photos / "bad.jpg").write_text("not an image")
    os.mkfifo(photos / "pipe.jpg")
    (photos / "loop.jpg").symlink_to("loop.jpg")
    (photos / "locked").mkdir(mode=0)

    out = photos / "results"
    done = call(photos, "--out", out)
    assert done.exit_code == 0, done.output
    assert "1 masks of photos are not inspected" in caplog.text
    assert "1 photo inspected by crack-classifier version 1:" in done.output
    assert "4 photos could not be inspected" in done.output
    # This version is like those that were registered before tile sizes were stored.
    assert "tiles of its input size, 32 px" in done.output
    bad, locked, loop, pier, pipe = photo_rows(out)
    assert bad["error"] == "not an image"
    assert locked["error"] == "Permission denied"
    assert loop["error"] == "Too many levels of symbolic links"
    assert pipe["error"] == "it is a pipe, socket or device, not a regular file"
    assert (pier["tile_px"], pier["version"]) == ("32", "1")
    assert (out / "inspection.html").is_file()
    assert (out / "findings.geojson").is_file()

    again = call(photos, "--out", out, "--scale", "0.5")
    assert "earlier call" not in again.output
    again = call(photos, "--out", out, "--scale", "0.5")
    assert "1 photo inspected by crack-classifier version 1 (1 of them in an earlier call)" in again.output
    assert len(photo_rows(out)) == 5

    missing = call(photos, "--out", out, "--model", "models:/crack-classifier/7")
    assert missing.exit_code == 2
    assert "7" in missing.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "0"], "--scale is 0; give a finite number above 0, such as 0.3"),
        (["--scale", "nan"], "--scale is nan; give a finite number above 0"),
        (["--distance", "-2"], "--distance is -2; give a finite number above 0"),
        (["--overlap", "1"], "--overlap is 1; give a number from 0 to 0.9"),
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


def test_a_folder_of_results_alone_has_no_photos(tmp_path):
    Image.fromarray(concrete(60, 60)).save(tmp_path / "a.png")
    done = call(tmp_path, "--out", tmp_path)
    assert done.exit_code == 2
    assert "give photos outside of" in " ".join(done.output.split())
