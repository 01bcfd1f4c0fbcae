"""After a mistake of the user: one clear message, exit 2, no traceback, no incomplete file, no registered version."""

import sqlite3
from pathlib import Path

import pytest

from tests.local.test_training_pipeline import crack_pipeline
from tests.tiny_version import tile


def folder_of(tmp_path: Path, files: dict[str, bytes]) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for name, content in files.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)
    return data


def tiles(label: int, count: int) -> dict[str, bytes]:
    return {f"{('Negative', 'Positive')[label]}/{number}.png": tile(label, number) for number in range(count)}


def test_wrong_data_stops_the_run_with_one_message(tmp_path):
    files = tiles(0, 22) | tiles(1, 22) | {"readme.txt": b"my tiles"}
    workdir = tmp_path / "workdir"
    run = crack_pipeline("run-local", workdir, "--data", str(folder_of(tmp_path, files)))
    assert run.returncode == 2, run.stdout + run.stderr
    assert run.stderr.startswith('error: step "split": too few images: the split val would have 2 images of class ')
    assert "lower split.min_images" in run.stderr
    layout = "ingest: ccic: the layout is ccic; images by folder: Negative (no_crack): 22; Positive (crack): 22"
    assert run.stdout.splitlines().count(layout) == 1
    assert "warning: ingest: ccic: 1 file was skipped (1 .txt)" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    versions = list((workdir / "s3").glob("crack/store/datasets/*/*"))
    assert all((path.parent / "dataset.json").exists() for path in versions)
    with sqlite3.connect(workdir / "mlflow.db") as registry:
        assert registry.execute("select count(*) from model_versions").fetchone() == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "candidates.cnn.train.stepz=3"], 'unknown key "candidates.cnn.train.stepz"; did you mean "steps"'),
        (["--set", "candidates.cnn.train.steps=many"], "candidates.cnn.train.steps: Input should be a valid integer"),
        (["--set", "candidates.vit.train.architecture=resnet19"], 'unknown architecture "resnet19"'),
        (["--set", "candidates.cnn.train.weights=gone.pth"], 'weights file "gone.pth" does not exist'),
        (["--set", "candidates.cnn.train.weights=README.md"], "the file does not have a known format of weights"),
        (["--set", "candidates.cnn.train.weights=hub"], "weights of resnet18 cannot be fetched: http://127.0.0.1:9/"),
        (["--data", "/nowhere/tiles"], "/nowhere/tiles does not exist"),
        (["--params", "nowhere.yaml"], "parameter file nowhere.yaml does not exist"),
        (["--params", "pipelines/params"], "parameter file pipelines/params is a folder; give a YAML file"),
        (["--data", ",,,"], "--data \",,,\": data_uri: ',,,' contains no source"),
        (["--set", "cache=/big/disk"], '--set "cache=/big/disk": a local run keeps its cache in the workdir'),
    ],
    ids=[
        "unknown key",
        "wrong type",
        "unknown architecture",
        "missing weights",
        "a file without weights",
        "an unreachable hub",
        "missing folder",
        "missing parameter file",
        "folder as parameter file",
        "data without a source",
        "fixed parameter",
    ],
)
def test_wrong_parameters_stop_before_anything_starts(tmp_path, arguments, message):
    run = crack_pipeline("run-local", tmp_path / "workdir", *arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert run.stderr.startswith("error: ")
    assert len(run.stderr.splitlines()) == 1
    assert "Traceback" not in run.stdout + run.stderr
    assert not (tmp_path / "workdir").exists()


def test_debug_shows_the_traceback(tmp_path):
    run = crack_pipeline("run-local", tmp_path / "workdir", "--params", "nowhere.yaml", "--debug")
    assert run.returncode == 2
    assert "Traceback" in run.stderr
