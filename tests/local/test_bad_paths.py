"""A wrong path, number or text ends a command at once, with exit status 2, one line, and nothing left behind."""

import os
import sqlite3
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.shared.hashing import digest
from components.shared.services import mlflow_runs
from pipelines.cli.main import app
from tests.mlflow_store import new_mlflow_store
from tests.tiny_version import tile
from tests.unprivileged import unprivileged

WHO = ["--by", "Ada", "--why", "a test"]
ACCEPT_SITE = ["accept-site", "--group-pattern", "(.*)", "--model", "models:/crack-classifier/1"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the commands, with a pipe that nobody writes to."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    return tmp_path


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry whose model has no version."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path_factory.mktemp("mlflow")))
    mlflow_runs.client().create_registered_model("crack-classifier")


def refusal(*arguments: object) -> str:
    """Call a command that must refuse its arguments, and return its only line."""
    with unprivileged():
        done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    "arguments",
    [
        ["run-local", "--params", "pipe"],
        ["run-local", "--data", "pipe"],
        ["compile", "--params", "pipe", "--output", "out.yaml"],
        ["review", "import", "pipe", "--by", "Ada"],
        ["review", "rollback", "1", *WHO, "--key", "pipe"],
        ["compile", "dev", "--allow-tags", "--output", "pipe"],
    ],
    ids=" ".join,
)
def test_a_pipe_is_refused_instead_of_read_or_written(arguments, here, s3):
    assert "pipe, socket or device" in refusal(*arguments)
    assert os.listdir(here) == ["pipe"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["registry", "import", "pipe"],
        [*ACCEPT_SITE, ".", "--labels", "pipe"],
        [*ACCEPT_SITE, ".", "--labels", "labels.csv", "--page", "pipe"],
    ],
    ids=" ".join,
)
def test_the_commands_of_the_registry_refuse_a_pipe(arguments, registry):
    assert "pipe, socket or device" in refusal(*arguments)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["run-local", "--workdir", ""], "--workdir"),
        (["run-local", "--workdir="], "--workdir"),
        (["run-local", "--data", ""], "--data"),
        (["inspect", "a.jpg", "--out", ""], "--out"),
        (["predict", "", "--out", "a.csv"], "paths"),
        (["drift-check", "--images", ""], "--images"),
        (["review", "queue", "--out", ""], "--out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_empty_text_is_not_the_current_folder(arguments, option, here):
    assert f"{option} is an empty text; give a value" in refusal(*arguments)
    assert os.listdir(here) == ["pipe"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gc", "--days", "1000000"], "--days is 1000000; give a number from 0 to 36500"),
        (["gc", "--days", "1e9"], "--days is 1000000000; give"),
        (["gc", "--days", "nan"], "--days is nan; give"),
        (["gc", "--days", "inf"], "--days is inf; give"),
        (["gc", "--days", "-1"], "--days is -1; give"),
        (["submit", "dev", "--wait", "--timeout", "inf"], "--timeout is inf; give a number from 0 to 31622400"),
        (["runs", "follow", "dev", "--interval", "nan"], "--interval is nan; give a number from 0.01 to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_number_out_of_range_is_named_with_its_range(arguments, message):
    assert message in refusal(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["promote", "9999999999", *WHO],
        ["predict", "a.png", "--out", "a.csv", "--batch-size", "9" * 30],
        ["review", "queue", "--out", "queue", "--size", "9" * 30],
        ["weights", "check", "a.pt", "--architecture", "resnet18", "--input-size", "0"],
    ],
    ids=" ".join,
)
def test_a_whole_number_out_of_range_is_refused(arguments):
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, "Input should be " in done.stderr) == (2, True), done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "a.png", "--out", "b/../a.png"], "--out b/../a.png is an input of this command, and would be"),
        (["predict", "a.png", "--out", "a.csv", "--html", "link.png"], "--html link.png is an input of this command"),
        (["predict", "a.png", "--out", "a.csv", "--html", "b/../a.csv"], "--html b/../a.csv is the same file as --out"),
        ([*ACCEPT_SITE, ".", "--labels", "a.csv", "--page", "a.csv"], "--page a.csv is the same file as --labels"),
        ([*ACCEPT_SITE, ".", "--labels", "a.csv", "--page", "a.png"], "--page a.png is an input of this command"),
        (["leaks", "--page", "b"], "b is a folder; give a file"),
        (["leaks", "--params", "run.yaml", "--page", "run.yaml"], "--page run.yaml is an input of this command"),
        (["leaks", "../../etc"], "VERSION is ../../etc, which is not the digest of a data set version; give the"),
        (["compile", "--params", "run.yaml", "--output", "run.yaml"], "--output run.yaml is an input of this command"),
        (["compile", "dev", "--output", "/dev/full"], "/dev/full is a pipe, socket or device, which would be replaced"),
        (["compile", "dev", "--output", "x.yaml", "--pipeline", "crack_training"], 'there is no pipeline "crack_train'),
        (["schedule", "dev", "--pipeline", "crack_training"], 'no pipeline "crack_training"; choose one of crack-tra'),
        (["submit", "dev", "--allow-tags"], 'KFP_ENDPOINT is ""; set it to the address'),
        (["promote", "1", *WHO, "--name", "../x"], "--name is ../x; the name of a registered model has no / and no :"),
        (["status", "--name", "a:b"], "--name is a:b; the name of a registered model has no"),
        (["serve", "--model", "models:/x/" + "9" * 20], "99999; give a version from 1 to 2147483647"),
        (["predict", "a.png", "--out", "a.csv", "--model", "models:/x/3000000000"], "--model is models:/x/3000000000;"),
        (["inspect", "a.png", "--out", "b", "--scale", "1", "--distance", "2"], "--scale and --distance both give the"),
        (["status"], "MLFLOW_TRACKING_URI is foo://bar, which MLflow cannot use; set it to the address"),
        (
            ["compile", "dev", "--output", "x.yaml", "--set", "seed=1", "--set", "seed=2"],
            '--set "seed=1" and --set "seed=2" set the same parameter; keep one',
        ),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_mistake_is_found_before_the_work_and_no_file_is_changed(arguments, message, here, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://bar")
    monkeypatch.delenv("KFP_ENDPOINT", raising=False)
    (here / "a.png").write_bytes(tile(0, 0))
    (here / "link.png").symlink_to("a.png")
    (here / "b").mkdir()
    (here / "run.yaml").write_text("seed: 1\n")

    assert message in refusal(*arguments)

    assert (here / "a.png").read_bytes() == tile(0, 0)
    assert sorted(os.listdir(here)) == ["a.png", "b", "link.png", "pipe", "run.yaml"]


@pytest.mark.parametrize("command", ["run-local", "transfer"])
def test_local_data_that_ingestion_would_refuse_are_refused_before_a_run_starts(command, folder, here):
    (folder / "crack" / "loop").symlink_to(folder)
    with zipfile.ZipFile("evil.zip", "w") as archive:
        archive.writestr("crack/../../../out.png", tile(0, 0))
    (here / "half.zip").write_bytes((here / "evil.zip").read_bytes()[:-30])

    assert f"{folder}/crack/loop is a link to a folder" in refusal(command, "--data", "set")
    assert "its member 'crack/../../../out.png' leads out of" in refusal(command, "--data", "evil.zip")
    assert "is missing, which we cannot unpack; download it again" in refusal(command, "--data", "half.zip")
    assert sorted(os.listdir(here)) == ["evil.zip", "half.zip", "pipe", "set"]


def test_a_folder_without_images_is_refused_before_a_drift_check_starts(here):
    new_mlflow_store(here)
    with sqlite3.connect("mlflow.db") as store:
        store.execute("INSERT INTO registered_models (name) VALUES ('crack-classifier')")
    (here / "empty").mkdir()
    before = sorted(os.listdir(here))
    for images in ("empty", "empty/{dat}"):
        line = refusal("drift-check", "--workdir", ".", "--images", images)
        assert f"there is no image under {here}/{images}; the name of an image must end in" in line
    assert {*os.listdir(here)} - {*before} <= {".lock"}


@pytest.mark.parametrize("data", ["images=abc", "images=0", "images=99999999999", "pictures=3", "size=9999"])
def test_the_options_of_a_synthetic_source_are_checked_at_the_start(data, here):
    assert f"data is 'synthetic://?{data}'" in refusal("run-local", "--data", f"synthetic://?{data}")
    assert os.listdir(here) == ["pipe"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["drift-check", "--images", ".", "--workdir", "new/nowhere"], "workdir new/nowhere has no runs"),
        (["drift-check", "--images", ".", "--workdir", "x" * 300], "is too long for the file system"),
        (["drift-check", "--images", ".", "--workdir", "/proc/nope"], "workdir /proc/nope has no runs"),
        (["run-local", "--workdir", "x" * 300], "is too long for the file system"),
        (["run-local", "--workdir", "/proc/nope"], "workdir /proc/nope: No such file or directory; choose another"),
        (["run-local", "--workdir", "a?b"], "a?b contains ? or %, which MLflow's database cannot have; choose another"),
        (["transfer", "--workdir", "a%41"], "a%41 contains ? or %, which MLflow's database cannot have"),
        (["run-local", "--workdir", "pipe/below"], "workdir pipe/below is not a folder; choose another"),
        (["run-local", "--workdir", "new/nowhere", "--params", "gone"], "parameter file gone does not exist"),
        (["transfer", "--workdir", "new/nowhere", "--params", "gone"], "parameter file gone does not exist"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_wrong_workdir_is_reported_and_no_new_one_is_left(arguments, message, here):
    assert message in refusal(*arguments)
    assert os.listdir(here) == ["pipe"]


@pytest.fixture
def folder(here: Path) -> Path:
    """A data set of two classes, which `review import` reads as YOLO. Each class has a subfolder with more tiles."""
    for name in ("crack", "no_crack"):
        (here / "set" / name / "more").mkdir(parents=True)
        for number in range(3):
            for place in (name, f"{name}/more"):
                (here / "set" / place / f"{digest(place, number)}.png").write_bytes(tile(0, number))
    return here / "set"


def test_what_cannot_be_listed_or_read_in_a_data_set_is_named(folder, s3, registry):
    imported = ["review", "import", "set", "--by", "Ada"]
    accepted = [*ACCEPT_SITE, "set", "--labels", "labels.csv"]

    (folder / "crack" / "more").chmod(0)
    assert "the folder set/crack/more cannot be listed: Permission denied; make it" in refusal(*imported)
    assert "set/crack/more cannot be read: Permission denied; make it" in refusal(*accepted)

    (folder / "crack" / "more").chmod(0o700)
    (folder / "crack" / "more").rename("moved")
    (folder / "crack" / "more").symlink_to(folder.parent / "moved")
    assert "set/crack/more is a link to a folder; replace" in refusal(*imported)
    assert "set/crack/more cannot be read: it is a link to a folder" in refusal(*accepted)

    (folder / "crack" / "more").unlink()
    os.mkfifo(folder / "crack" / "pipe.png")
    assert "set/crack/pipe.png is not a regular file, but a pipe" in refusal(*imported)
    assert "set/crack/pipe.png cannot be read: it is a pipe" in refusal(*accepted)

    (folder / "crack" / "pipe.png").unlink()
    (folder / "crack" / "loop.png").symlink_to("loop.png")
    assert "set/crack/loop.png cannot be read: Too many levels of symbolic links" in refusal(*accepted)
