import csv
import os
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from typer.testing import CliRunner

from components.register.run import register_winner
from components.shared.services import mlflow_runs
from components.shared.services.store import Store
from components.shared.services.version_files import version_digest, version_folder
from pipelines.cli.main import app
from pipelines.image_files import find_images
from pipelines.local.embedded_stack import free_port
from pipelines.registry.classify import (
    Answer,
    classify,
    name_and_version,
    strangeness,
    summary,
    write_page,
    write_results,
)
from tests.tiny_version import tile
from tests.unprivileged import unprivileged


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Five tiles, two of them cracks, one in a subfolder; a text file named like an image; a text file."""
    folder = tmp_path / "bridge"
    (folder / "pier").mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(tile(number % 2, number))
    (folder / "pier" / "4.PNG").write_bytes(tile(0, 4))
    (folder / "bad.jpg").write_text("not an image")
    (folder / "notes.txt").write_text("sunny")
    return folder


def add_what_cannot_be_read(folder: Path) -> dict[str, str]:
    """Add links, a pipe and a folder with three tiles that cannot be listed; return the error of each."""
    (folder / "locked").mkdir()
    for number in range(3):
        (folder / "locked" / f"{number}.png").write_bytes(tile(0, number))
    (folder / "locked").chmod(0)
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "linked").symlink_to("pier")
    os.mkfifo(folder / "pipe.png")
    return {
        "locked": "Permission denied",
        "loop.png": "Too many levels of symbolic links",
        "gone.png": "No such file or directory",
        "linked": "it is a link to a folder, not a file",
        "pipe.png": "it is a pipe, socket or device, not a regular file",
    }


def add_bricks(folder: Path) -> list[str]:
    """Add four images of a surface that the model never saw: red bricks with joints. Return their names."""
    names = []
    for number in range(4):
        bricks = np.full((48, 48, 3), (40, 60, 190 - 9 * number), np.uint8)
        bricks[::12] = bricks[:, ::24] = 220
        names.append(f"brick{number}.png")
        cv2.imwrite(str(folder / names[-1]), bricks)
    return names


def call(*arguments: object):
    return run("predict", *arguments)


def run(*arguments: object, env: dict[str, str] | None = None):
    return CliRunner().invoke(app, list(map(str, arguments)), env=env)


def test_files_become_rows_and_a_bad_one_a_row_with_an_error(winner, unchecked, images, tmp_path, monkeypatch):
    register_winner(*winner, job="job-1")
    mlflow_runs.client().set_registered_model_alias("crack-classifier", "champion", "1")
    out, page = tmp_path / "out" / "results.csv", tmp_path / "page" / "page.html"
    unreadable = add_what_cannot_be_read(images)
    bricks = add_bricks(images)
    with unprivileged():
        done = call(images, images / "0.png", "--out", out, "--html", page, "--batch-size", 2)
    assert done.exit_code == 0, done.output
    with out.open(newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert set(rows) == {"0.png", "1.png", "2.png", "3.png", "4.PNG", "bad.jpg", *bricks, *unreadable}  # each once
    assert all(float(rows[name]["novelty"]) > 1 for name in bricks)
    assert re.search(r"warning: [4-9] of 9 images are unlike the images that the model was trained on", done.stderr)
    assert {name: rows[name]["error"] for name in unreadable} == unreadable
    assert rows["bad.jpg"]["error"] == "not an image"
    assert rows["bad.jpg"]["p_crack"] == ""
    answered = [row for row in rows.values() if not row["error"]]
    assert all(row["label"] == ("crack" if float(row["p_crack"]) >= 0.4 else "no_crack") for row in answered)
    assert {row["threshold"] for row in answered} == {"0.4"}
    assert os.listdir(out.parent) == ["results.csv"]
    assert page.read_text().count("data:image/jpeg;base64,") == 9
    assert all(row["needs_review"] == str(0.1 <= float(row["p_crack"]) < 0.4) for row in answered)
    assert {(row["model"], row["version"]) for row in rows.values()} == {("crack-classifier", "1")}
    cracks = sum(row["label"] == "crack" for row in answered)
    review = sum(row["needs_review"] == "True" for row in answered)
    needs = f"{review} need{'s' if review == 1 else ''} review by a person"
    counts = f"{cracks} with a crack (P(crack) at least 0.4), {needs}, 6 without an answer"
    assert f"15 files classified by models:/crack-classifier/1: {counts}" in done.output
    wrong = call(images, "--model", "models:/crack-classifier@nobody", "--out", tmp_path / "none.csv")
    assert wrong.exit_code == 2
    assert "no version of crack-classifier has the alias nobody" in wrong.output
    missing = call(images, "--model", "models:/crack-classifier/9", "--out", tmp_path / "none.csv")
    assert missing.exit_code == 2
    assert "models:/crack-classifier/9 cannot be loaded: " in missing.output
    assert not (tmp_path / "none.csv").exists()
    _check_a_model_killed_between_two_batches(images, monkeypatch)
    _check_a_signature_and_changed_code(winner[1], images, tmp_path)


def _check_a_signature_and_changed_code(config, images, tmp_path):
    """A version is promoted with a signature only. With other weights or a strange file, no command uses it."""
    keys = {}
    for name in ("ada", "eve"):
        private = Ed25519PrivateKey.generate()
        keys[name], keys[f"{name}.pub"] = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
        keys[name].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        keys[f"{name}.pub"].write_bytes(
            private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
    demand = ["promote", "1", "--by", "Ada", "--why", "signed", "--require-signature"]
    mlflow_runs.client().delete_registered_model_alias("crack-classifier", "champion")
    assert "version 1 is not signed with this key" in run(*demand, keys["ada.pub"]).output
    assert run("sign", "1", "--key", keys["ada"]).exit_code == 0
    assert "version 1 is not signed with this key" in run(*demand, keys["eve.pub"]).output
    assert "give the public key" in run(*demand, keys["ada"]).output
    assert run(*demand, keys["ada.pub"]).exit_code == 0

    store = Store(config.store)
    key_of = {key.rpartition("/artifacts/")[2]: key for key, _ in store.list("mlflow/models/")}
    again = ["promote", "1", "--by", "Eve", "--why", "mine"]
    commands = [
        again,
        [*demand, keys["ada.pub"]],
        ["predict", images, "--out", tmp_path / "none.csv"],
        ["inspect", images, "--out", tmp_path / "inspected"],
        ["serve", "--port", free_port()],
    ]
    weights = key_of["model/model.safetensors"]
    whole = store.get_bytes(weights)
    store.put_bytes(weights, whole[:-1] + bytes([whole[-1] ^ 1]))
    _check_all_refuse(commands)
    store.put_bytes(weights, whole)

    ran = tmp_path / "ran"
    errors = key_of["code/components/shared/errors.py"]
    store.put_bytes(errors.replace("errors", "json"), f"open({str(ran)!r}, 'w')".encode())
    _check_all_refuse(commands)
    _check_a_rewritten_digest(images, tmp_path, keys)
    assert not ran.exists()


def _check_all_refuse(commands):
    for command in commands:
        done = run(*command)
        assert (done.exit_code, "are not the registered files" in done.output) == (2, True), done.output


def _check_a_rewritten_digest(images, tmp_path, keys):
    """Somebody changed files of version 1, and its digest in MLflow too. Only the signature shows it."""
    client = mlflow_runs.client()
    source = client.get_model_version("crack-classifier", "1").source
    passed = {mlflow_runs.VERDICT: "passed", mlflow_runs.CHECKED: "passed"}
    client.create_model_version("crack-classifier", source, tags=passed)
    who = ["--by", "Eve", "--why", "mine"]
    assert run("promote", "2", *who).exit_code == 0
    client.delete_model_version_tag("crack-classifier", "1", mlflow_runs.DIGEST)
    with version_folder("crack-classifier", "1") as folder:
        client.set_model_version_tag("crack-classifier", "1", mlflow_runs.DIGEST, version_digest(folder))

    model = ["--model", "models:/crack-classifier/1"]
    predict = ["predict", images, "--out", tmp_path / "none.csv"]
    commands = [
        ["promote", "1", *who],
        ["rollback", *who],
        [*predict, *model],
        ["inspect", images, "--out", tmp_path / "inspected", *model],
        ["serve", "--port", free_port(), *model],
    ]
    for command in commands:
        done = run(*command, "--require-signature", keys["ada.pub"])
        assert (done.exit_code, "does not match its files" in done.output) == (2, True), done.output
        done = run(*command, env={"CRACK_REQUIRE_SIGNATURE": str(keys["eve.pub"])})
        assert (done.exit_code, "is not signed with this key" in done.output) == (2, True), done.output
    unregistered = run(*predict, "--model", tmp_path, "--require-signature", keys["ada.pub"])
    assert unregistered.exit_code == 2
    assert "is not a registered model version, so it cannot have the signature" in unregistered.output


def _check_a_model_killed_between_two_batches(images, monkeypatch):
    started, start = [], subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **options: started.append(start(*args, **options)) or started[0]
    )
    answers = classify(
        "models:/crack-classifier/1", find_images([str(images)]), 2, lambda done: started[0].kill(), None
    )
    with pytest.raises(RuntimeError, match=r"models:/crack-classifier/1 was ended by signal 9; .* a smaller batch"):
        list(answers)
    assert started[0].poll() == -9


@pytest.mark.parametrize(
    ("given", "message"),
    [("nowhere", "nowhere matches no file"), ("*.gif", "matches no file"), ("empty", "folder empty has no image file")],
)
def test_a_path_that_matches_nothing_is_reported_before_a_model_is_loaded(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    done = call(given, "--out", "results.csv")
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize("option", ["--out", "--html"])
def test_an_output_path_that_is_a_folder_is_reported_before_a_model_is_loaded(images, tmp_path, option):
    done = call(images, "--out", tmp_path / "results.csv", option, tmp_path)
    assert done.exit_code == 2
    assert f"{tmp_path} is a folder; give a file" in done.output.replace("\n", "")


def test_patterns_match_files(images):
    assert [path.name for path in find_images([f"{images}/**/*.PNG", f"{images}/[12].png"])] == [
        "4.PNG",
        "1.png",
        "2.png",
    ]


def test_a_pattern_names_the_folders_that_it_cannot_search(images):
    add_what_cannot_be_read(images)
    with unprivileged():
        found = find_images([f"{images}/*/*.PNG", f"{images}/**/*.png"])
    names = [str(path.relative_to(images)) for path in found]
    assert names[:3] == ["linked/4.PNG", "locked", "pier/4.PNG"]
    assert set(names[3:]) == {"0.png", "1.png", "2.png", "3.png", "loop.png", "gone.png", "pipe.png"}


def answered(images: Path, *needs_review: bool | None) -> list[Answer]:
    """Return one answer for each value of `needs_review`. P(crack) falls from answer to answer."""
    answers = []
    for number, needed in enumerate(needs_review):
        answers.append(Answer(str(images / f"{number}.png"), 0.6 - 0.1 * number, "crack", 0.5, 0.3, needed, "m", "2"))
    return answers


def test_the_page_shows_the_images_that_need_review_before_the_others(images, tmp_path):
    answers = answered(images, False, True, False, True)
    write_page(answers, "models:/m/2", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    shown = ["Needs review by a person", "1.png", "3.png", "Other answers", "0.png", "2.png"]
    positions = [page.index(text, page.index("Needs review")) for text in shown]
    assert positions == sorted(positions)
    assert summary(answers, "m").endswith("2 need review by a person, 0 without an answer")
    assert "1 needs review by a person" in summary(answers[:2], "m")
    assert "0 need review by a person" in summary(answers[:1], "m")


def test_answers_of_a_version_without_a_review_band_leave_the_column_empty(images, tmp_path):
    answers = write_results(iter(answered(images, None, None)), tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["needs_review"] for row in csv.DictReader(file)] == ["", ""]
    assert "review" not in summary(answers, "m")
    write_page(answers, "models:/m/2", tmp_path / "page.html")
    assert "Needs review" not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/crack-classifier/12", ("crack-classifier", "12")),
        ("models:/m-0123456789", ("models:/m-0123456789", "")),
        ("/models/crack", ("/models/crack", "")),
    ],
)
def test_a_uri_that_is_not_a_registered_version_has_no_version(uri, expected):
    assert name_and_version(uri) == expected


@pytest.mark.parametrize(("strange", "known", "warned"), [(2, 3, True), (1, 4, False), (4, 0, False), (30, 70, True)])
def test_a_batch_with_many_strange_images_is_warned_of(strange, known, warned):
    answers = [Answer("a.png", 0.9, "crack", 0.5, novelty) for novelty in [1.5] * strange + [0.8] * known]
    warning = strangeness([*answers, Answer("b.png", error="not an image")])
    assert (f"{strange} of {strange + known} images are unlike the images" in warning) == warned
