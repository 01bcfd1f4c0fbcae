"""Data that a data set must not be made from, given to a command: it is refused, or named, or used unaltered.

The command is `transfer`, because it ingests in its own process. In `run-local`, a step does, and
`test_bad_input.py` shows how the error of a step reaches the user.
"""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from components.shared import name_search
from components.shared.data.manifest import read_manifest
from components.shared.services.store import Store
from pipelines.cli.main import app
from tests.faulty_s3 import FaultyS3, once_for_each
from tests.mlflow_store import new_mlflow_store
from tests.tiny_version import tile
from tests.unprivileged import unprivileged

PARAMS = """
candidates: {cnn: {train: {architecture: test_resnet, weights: none, input_size: 32, steps: 1}}}
ingest: {min_images: 5, overlap: null}
"""
# What the command says after an ingestion that succeeded.
INGESTED = "the data have only one source, "


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir for all commands, with the parameter file that they use."""
    folder = tmp_path_factory.mktemp("workdir")
    new_mlflow_store(folder)
    (folder / "params.yaml").write_text(PARAMS)
    return folder


@pytest.fixture
def ingestion(workdir: Path) -> Callable[..., str]:
    """A function that calls the command with a data URI and settings, and returns its only error."""

    def ingest(data: object, *settings: str) -> str:
        arguments = ["transfer", "--params", f"{workdir}/params.yaml", "--workdir", str(workdir), "--data", str(data)]
        for setting in settings:
            arguments += ["--set", setting]
        with unprivileged():
            done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2, done.output
        (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.stderr.endswith(f"{error}\n")
        return error

    return ingest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of two classes with six tiles each. Three tiles of the class crack are in a subfolder."""
    for number in range(12):
        label = number % 2
        folder = ("no_crack", "crack/more" if number > 6 else "crack")[label]
        path = tmp_path / "set" / folder / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tile(label, number))
    return tmp_path / "set"


@pytest.mark.parametrize("folder", ["crack/more", "masks"])
def test_a_folder_that_cannot_be_listed_is_an_error(ingestion, data, folder):
    (data / "masks").mkdir()
    (data / folder).chmod(0)
    assert f"the folder {data}/{folder} cannot be listed: Permission denied; make it readable" in ingestion(data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is not a regular file, but a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file, but a pipe"),
        (lambda path: path.symlink_to(path.parent.parent), "is a link to a folder; replace"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    ],
    ids=["pipe", "device", "link to a folder", "link to itself"],
)
def test_what_is_not_a_regular_file_is_named(ingestion, data, make, message):
    make(data / "crack" / "odd.png")
    error = ingestion(data)
    assert "crack/odd.png" in error
    assert message in error


def test_two_layouts_in_one_folder_are_an_error(ingestion, data):
    for label, name in enumerate(("Negative", "Positive")):
        (data / name).mkdir()
        (data / name / "1.png").write_bytes(tile(label, 100))
    error = ingestion(data)
    assert "(Negative, Positive)" in error
    assert "folders" in error
    assert "?layout=NAME" in error


def test_a_pattern_that_takes_for_ever_is_ended(ingestion, data, monkeypatch):
    monkeypatch.setattr(name_search, "SECONDS_ALLOWED", 1)
    (data / "crack" / f"{'a' * 100}.png").write_bytes(tile(1, 100))
    error = ingestion(data, "ingest.group_pattern=(a|aa)+$")
    assert "the pattern '(a|aa)+$' takes more than 1 s on 13 names; write it without nested repetitions" in error


@pytest.mark.parametrize(
    ("member", "message"),
    [(".", "its member '.' has no name; pack it again"), (f"crack/{'x' * 300}.png", "too long for this file system")],
    ids=["dot", "long name"],
)
def test_a_member_of_an_archive_that_cannot_be_a_file_is_named(ingestion, tmp_path, member, message):
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(member), b"bad")
    assert message in ingestion(tmp_path / "tiles.zip")


@pytest.fixture
def faulty(s3_environment: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """The user's storage server, which returns every third tile with a wrong byte, and every third without its end."""
    store.connection.client.create_bucket(Bucket="theirs")
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _: None))
    faults = once_for_each(("wrong", "short", ""), ".png")
    with FaultyS3(s3_environment["AWS_ENDPOINT_URL_S3"], faults).serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        yield server


def test_no_tile_of_a_storage_is_altered_on_the_way(ingestion, workdir, data, faulty, caplog):
    uri = "s3://theirs/walls"
    Store("s3://theirs").put_folder("walls", data)
    assert INGESTED in ingestion(uri)
    assert faulty.happened["wrong"] >= 4
    assert faulty.happened["short"] >= 4
    contents = {hashlib.sha256(path.read_bytes()).hexdigest() for path in data.rglob("*.png")}
    assert set(read_manifest(workdir / "transfer" / "manifest.parquet").table["sample_id"]) == contents
    assert f"12 of 12 objects of {uri} have no checksum that can be compared" in caplog.text


def test_a_damaged_record_is_made_again_or_named(ingestion, workdir, data):
    stored = workdir / "s3" / "crack" / "store"
    shutil.rmtree(stored, ignore_errors=True)
    assert INGESTED in ingestion(data)
    record_of = {path.name: path for path in stored.rglob("*") if path.is_file()}
    whole = {name: path.read_bytes() for name, path in record_of.items()}

    for name, length in {"dataset.json": 0, "report.json": 20}.items():
        record_of[name].write_bytes(whole[name][:length])
    assert INGESTED in ingestion(data)
    assert all(record_of[name].read_bytes() == whole[name] for name in ("dataset.json", "report.json"))

    for name, length in {"latest.json": 0, "manifest.parquet": 20}.items():
        record_of[name].write_bytes(whole[name][:length])
        error = ingestion(data)
        assert f"s3://{record_of[name].relative_to(workdir / 's3')} is damaged" in error
        assert "restore it from a backup of the store" in error
        record_of[name].write_bytes(whole[name])
