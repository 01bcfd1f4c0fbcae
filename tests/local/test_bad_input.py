"""After a mistake of the user: one clear message, exit 2, no traceback, no incomplete file, no registered version."""

import io
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from pipelines.local.embedded_stack import DATABASE, UNFINISHED_DATABASE
from tests.components.register.hostile_requests import png
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


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears as soon as a process starts Ghostscript, the program that Pillow gives EPS files to."""
    program, started = tmp_path / "programs" / "gs", tmp_path / "started"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return started


def kill_while_the_mlflow_store_is_made(workdir: Path) -> None:
    """Start a first run, and kill it with SIGKILL in the middle of MLflow's schema."""
    command = [str(Path(sys.executable).with_name("crack-pipeline")), "run-local", "--workdir", str(workdir)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    unfinished = workdir / UNFINISHED_DATABASE
    deadline = time.monotonic() + 120
    while not (unfinished.exists() and unfinished.stat().st_size > 200_000):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (workdir / DATABASE).exists()


def test_wrong_data_stops_the_run_with_one_message(tmp_path, ghostscript, monkeypatch):
    """The run comes after one that was killed. Some of its files are hostile, and nobody gets its message."""
    workdir = tmp_path / "workdir"
    kill_while_the_mlflow_store_is_made(workdir)
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", "http://127.0.0.1:9/secret")

    eps = io.BytesIO()
    Image.new("RGB", (48, 48)).save(eps, "EPS")
    files = tiles(0, 22) | tiles(1, 22) | {"readme.txt": b"my tiles", "Positive/.hidden/1.png": tile(1, 99)}
    files |= {"Positive/eps.jpg": eps.getvalue(), "Positive/bomb.png": png(32_000, 32_000)}
    data = folder_of(tmp_path, files)
    (data / "Negative" / "loop.png").symlink_to("loop.png")
    (tmp_path / "more.csv").write_text(f"path,label\n{data}/Negative/0.png,0\n{data}/Positive/0.png,1\n")

    settings = ["--set", "ingest.max_refused=0.1", "--set", "notify.backoff=0"]
    run = crack_pipeline("run-local", workdir, "--data", f"{data},{tmp_path}/more.csv", *settings)
    assert run.returncode == 2, run.stdout + run.stderr
    assert run.stderr.startswith('error: step "split": too few images: the split val would have 2 images of class ')
    assert "lower split.min_images" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    layout = "ingest: ccic: the layout is ccic; images by folder: Negative (no_crack): 23; Positive (crack): 24"
    assert run.stdout.splitlines().count(layout) == 1
    for warning in (
        "ingest: ccic: 2 files were skipped (1 hidden, 1 .txt)",
        f"ingest: files refused: 3; the first is Negative/loop.png: {data}/Negative/loop.png cannot be read: ",
        "notify: the message about this run was not delivered; the log of the step notify says why",
    ):
        assert f"warning: {warning}" in run.stdout
    log = (workdir / "run.log").read_text()
    assert "refused Positive/eps.jpg of ccic: not an image" in log
    assert "refused Positive/bomb.png of ccic: too large: more than 178956970 pixels" in log
    assert "secret" not in log
    assert not ghostscript.exists()
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
