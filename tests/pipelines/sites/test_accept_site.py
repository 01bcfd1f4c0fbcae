"""A model version is accepted at a site from a few labels: plan, labels, verdict, registry and page."""

import csv
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.register.run import register_winner
from components.shared.services import mlflow_runs
from pipelines.cli.main import app
from tests.tiny_version import tile

PATTERN = "^(p[0-9]+)-"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with 60 tiles of 6 photos; a third of the tiles are cracks, which are dark."""
    folder = tmp_path / "bridge"
    folder.mkdir()
    for number in range(60):
        label = int(number % 3 == 0)
        (folder / f"p{number % 6}-{number:02d}.png").write_bytes(tile(label, 1000 + number))
    return folder


def truth(path: str) -> str:
    return "crack" if int(path[3:5]) % 3 == 0 else "no_crack"


def call(folder: Path, labels: Path, *options: object):
    arguments = [folder, "--labels", labels, "--page", labels.with_suffix(".html"), *options]
    if "--group-pattern" not in options:
        arguments += ["--group-pattern", PATTERN]
    return CliRunner().invoke(app, ["accept-site", *map(str, arguments)])


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def fill_in(file: Path) -> int:
    """Label every tile of the file; return their number."""
    rows = rows_of(file)
    text = "".join(f"{row['path']},{truth(row['path'])}\n" for row in rows)
    file.write_text(f"path,label\n{text}")
    return len(rows)


def test_a_version_is_planned_labelled_and_judged_at_a_site(winner, unchecked, site, store, tmp_path):
    register_winner(*winner, job="job-1")
    client = mlflow_runs.client()
    client.set_registered_model_alias("crack-classifier", "champion", "1")
    labels = tmp_path / "labels.csv"

    first = call(site, labels)
    assert first.exit_code == 3, first.output
    assert "label 40 more: No tile has a label yet." in first.output
    assert [row["label"] for row in rows_of(labels)] == [""] * 40
    page = labels.with_suffix(".html").read_text()
    assert page.count("data:image/jpeg;base64,") == 40
    assert page.count("data-answer=") == 2
    assert "P(crack)</th>" not in page  # a person labels without the model's answers

    # The same draws are asked for again, from the registry and without the model.
    asked = rows_of(labels)
    labels.unlink()
    assert call(site, labels).exit_code == 3
    assert rows_of(labels) == asked

    while fill_in(labels) < 60:
        done = call(site, labels)
        assert done.exit_code in (0, 1, 3), done.output
        if done.exit_code != 3:
            break
    decision = {0: "accept", 1: "refuse"}[done.exit_code]  # all 60 labels are an exact answer
    tags = client.get_model_version("crack-classifier", "1").tags
    kept = json.loads(tags["crack.site.bridge"])
    assert kept["decision"] == decision
    run_id = client.get_model_version("crack-classifier", "1").run_id
    files = {Path(file.path).name for file in client.list_artifacts(run_id, "sites/bridge")}
    assert {"page.html", "labels.csv", "verdict.json", "tiles.parquet", "draws.parquet"} <= files
    assert f"at the site bridge: {decision}" in CliRunner().invoke(app, ["status"]).output

    _check_wrong_inputs(site, labels, tmp_path)
    _check_a_version_without_calibration(site, client, store, tmp_path)


def _check_wrong_inputs(site, labels, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("path,label\nq1-00.png,crack\n")
    foreign = call(site, other)
    assert foreign.exit_code == 2
    assert "is for another site: none of its 1 paths, such as q1-00.png, is a tile of bridge" in foreign.output

    other.write_text("path,label\np0-00.png,perhaps\n")
    assert "(p0-00.png): the label is 'perhaps'; write crack, no_crack, or nothing" in call(site, other).output

    one_photo = call(site, tmp_path / "x.csv", "--site", "single", "--group-pattern", "^(p)[0-9]")
    assert one_photo.exit_code == 2
    assert "the 60 tiles in" in one_photo.output
    assert "are from 1 photo, such as p; a verdict about a site needs at least 5 photos" in one_photo.output

    assert "were chosen with --claim images" in call(site, labels, "--claim", "photos").output
    (site / "p0-60.png").write_bytes(tile(1, 2000))
    changed = call(site, labels)
    assert changed.exit_code == 2
    assert "1 files in" in changed.output
    assert "such as p0-60.png" in changed.output

    (site / "p0-60.png").write_bytes(tile(0, 0))
    trained_on = call(site, tmp_path / "y.csv", "--site", "seen")
    assert "version 1 was trained on 1 of the 61 tiles, such as p0-60.png" in trained_on.output
    assert not os.path.exists(tmp_path / "y.csv")


def _check_a_version_without_calibration(site, client, store, tmp_path):
    """Delete the calibration and the digest of the version, as if it was registered by hand. Then it is refused."""
    client.delete_model_version_tag("crack-classifier", "1", mlflow_runs.DIGEST)
    [calibration] = [key for key, _ in store.list("mlflow/models/") if key.endswith("artifacts/calibration.json")]
    store.delete([calibration])
    by_hand = call(site, tmp_path / "z.csv", "--site", "by-hand")
    assert by_hand.exit_code == 2
    assert "crack-classifier version 1 has no calibration.json, so its threshold is unknown" in by_hand.output
    assert not os.path.exists(tmp_path / "z.csv")
