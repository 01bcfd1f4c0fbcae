"""Run the real pipelines with small networks, as `make run` does, in about a minute, and then a drift check."""

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pandas as pd
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, roc_auc_score

from components.ingest.sources.synthetic import draw_dataset
from components.ingest.sources.synthetic_photo import draw_photo
from pipelines.cli.options import local_settings
from pipelines.config.parameter_file import load_run_config
from pipelines.local.embedded_stack import locked
from pipelines.local.run import Results, run_locally
from tests.browser import DESK, PAPER, PHONE, in_first_screen, open_page, scroll_width

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
SMALL = [
    "candidates.cnn.train.architecture=resnet10t",
    *(f"candidates.{name}.train.{key}" for name in ("cnn", "vit") for key in ("input_size=64", "steps=24")),
    "candidates.cnn.train.learning_rate=3e-3",
    "explain.measured=4",
    "explain.shown=4",
    "explain.chosen_on=2",
    "drift.evidently=false",
    "evaluate.resamples=200",
    "gate.limits=[{name: accuracy, split: test, limit: 0.01}]",  # low, because this test is not about the accuracy
]


def crack_pipeline(subcommand: str, workdir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("crack-pipeline")),
        subcommand,
        "--workdir",
        str(workdir),
        *arguments,
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MLFLOW_"))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def small(workdir: Path, *more: str) -> subprocess.CompletedProcess[str]:
    settings = [part for setting in (*SMALL, *more) for part in ("--set", setting)]
    return crack_pipeline("run-local", workdir, "--data", "synthetic://?images=240&seed=4&size=64", *settings)


def _artifacts(workdir: Path, name: str) -> list[Path]:
    return sorted((workdir / "report.html").resolve().parent.glob(f"artifacts/*/{name}"))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    run = small(workdir)
    assert run.returncode == 0, run.stdout + run.stderr
    return workdir, run, json.loads((workdir / "summary.json").read_text())


def test_a_run_ends_with_a_registered_model_and_a_report(first):
    workdir, run, summary = first
    assert summary["winner"] in ("cnn", "vit")
    assert summary["model"] == {"name": "crack-classifier", "version": "1", "alias": "challenger"}
    assert len(summary["dataset_digest"]) == 64
    for candidate in summary["candidates"].values():
        assert candidate["verdict"][0]["name"] == "accuracy"
    assert f"winner: {summary['winner']}, registered as crack-classifier version 1" in run.stdout
    report = (workdir / "report.html").read_text()
    for heading in ("Training of cnn", "Evaluation of vit", "Explanation of cnn", "Drift of vit", "Data", "Split"):
        assert heading in report
    assert 'src="http' not in report
    assert "Traceback" not in (workdir / "run.log").read_text()


def test_one_step_runs_alone_with_the_commands_of_contributing(first):
    workdir, _, _ = first
    snippets = re.findall(
        r"^\.venv/bin/python - <<'END'\n(.*?)^END$", CONTRIBUTING.read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(snippets) == 2

    command = [sys.executable, "-c", "\n".join(snippets)]
    run = subprocess.run(command, cwd=workdir.parent, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "test_accuracy" in run.stdout
    assert re.search(r"^train +\d+$", run.stdout, re.MULTILINE)


@pytest.mark.parametrize("number", [0, 1])
def test_the_summary_tells_what_the_networks_answered(first, number):
    workdir, _, summary = first
    answers = pd.read_parquet(_artifacts(workdir, "predict*/predictions/predictions.parquet")[number])
    answers = answers[(answers["condition"] == "after") & (answers["corruption"] == "clean")]
    test, robustness = (answers[answers["split"] == split] for split in ("test", "robustness"))
    measured = (
        accuracy_score(test["label"], test["p_crack"] >= 0.5),
        roc_auc_score(robustness["label"], robustness["p_crack"]),
    )
    reported = [(found["test"]["accuracy"], found["robustness"]["auroc"]) for found in summary["candidates"].values()]
    assert pytest.approx(measured) in reported


@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
def test_the_report_is_complete_and_fits_the_window(first, browser, window):
    page, complaints = open_page(browser, first[0] / "report.html", window)
    assert in_first_screen(page, ".callout")
    assert in_first_screen(page, ".wrong-answers section:first-child")
    assert in_first_screen(page, ".wrong-answers section:last-child img, .wrong-answers section:last-child p")
    page.get_by_role("button", name="Open all sections").click()
    images = page.evaluate("""async () => {
        const images = [...document.images];
        images.forEach(image => { image.loading = 'eager'; });
        await Promise.all(images.map(image => image.decode()));
        return images.map(image => image.naturalWidth > 1 && image.alt !== '');
    }""")
    assert len(images) > 20
    assert all(images)
    assert scroll_width(page) <= window["width"]
    broken = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.querySelector(a.hash)).length"
    assert page.evaluate(broken) == 0
    assert complaints == []


def test_the_tables_of_the_report_fit_the_paper(first, browser):
    page, _ = open_page(browser, first[0] / "report.html", PAPER)
    page.get_by_role("button", name="Open all sections").click()
    page.emulate_media(media="print")
    assert scroll_width(page) <= PAPER["width"]


def test_the_galleries_filters_show_what_they_say(first, browser):
    page, _ = open_page(browser, first[0] / "report.html", DESK)
    page.get_by_role("button", name="Open all sections").click()
    galleries = page.locator(".gallery")
    assert galleries.count() == 2
    for gallery in galleries.all():
        images = gallery.locator("figure")
        everything = images.count()
        assert sum(image.is_visible() for image in images.all()) == everything > 0
        counted = 0
        for verdict in ("right", "wrong"):
            gallery.get_by_label(verdict, exact=True).check()
            shown = [image for image in images.all() if image.is_visible()]
            assert all(verdict in image.get_attribute("class").split() for image in shown)
            assert gallery.locator(".nothing").is_visible() == (not shown)
            counted += len(shown)
        assert counted == everything


def test_every_step_ran_once_and_its_seconds_are_told(first):
    _, _, summary = first
    branch = ("train", "predict", "evaluate", "explain", "drift", "gate")
    steps = {f"{step} {name}" for step in branch for name in ("cnn", "vit")}
    assert set(summary["seconds"]) == steps | {"ingest", "split", "champion", "select", "register", "report", "notify"}


def test_mlflow_holds_both_candidates_under_one_run(first):
    from mlflow.tracking import MlflowClient

    workdir, _, summary = first
    client = MlflowClient(f"sqlite:///{workdir}/mlflow.db")
    experiment = client.get_experiment_by_name("crack-training").experiment_id
    runs = {run.data.tags["mlflow.runName"]: run for run in client.search_runs([experiment])}
    parent = next(run for name, run in runs.items() if name.startswith("crack-training"))
    for name in ("cnn", "vit"):
        run = runs[name]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["train.input_size"] == "64"
        assert run.data.tags["gate"] == "passed"
        assert run.data.metrics["test_accuracy"] == summary["candidates"][name]["test"]["accuracy"]
        assert len(client.get_metric_history(run.info.run_id, "val_loss")) == 8
        assert run.info.status == "FINISHED"
    assert parent.info.status == "FINISHED"
    assert summary["reasoning"] in parent.data.tags["mlflow.note.content"]
    version = client.get_model_version_by_alias("crack-classifier", "challenger")
    assert version.tags["crack.dataset"] == summary["dataset_digest"]


def test_an_unchanged_data_set_retrains_nothing(first):
    workdir, _, before = first
    again = small(workdir)
    assert again.returncode == 0, again.stdout + again.stderr
    after = json.loads((workdir / "summary.json").read_text())
    assert after["dataset_digest"] == before["dataset_digest"]
    assert after["candidates"] == before["candidates"]
    assert after["model"]["version"] == "1"  # the same model is registered once
    events = [json.loads(line) for line in (workdir / "report.html").resolve().with_name("events.jsonl").open()]
    reused = {event["step"] for event in events if event["event"] == "reused"}
    assert reused == {f"{step} {name}" for step in ("train", "predict", "explain") for name in ("cnn", "vit")}


def test_dark_images_ask_the_champions_owner_to_retrain(first, tmp_path):
    from mlflow.tracking import MlflowClient

    workdir, _, _ = first
    for tile in draw_dataset(60, seed=9, size=64):
        cv2.imwrite(str(tmp_path / f"{tile.name}.png"), (0.4 * tile.image[..., ::-1]).astype("uint8"))
    promoted = crack_pipeline("promote", workdir, "1", "--by", "Ada", "--why", "first model")
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    settings = ("--set", "drift.evidently=false", "--set", r"collect.group_pattern=(.*)-\d")
    check = crack_pipeline("drift-check", workdir, "--images", str(tmp_path), *settings)
    assert check.returncode == 0, check.stdout + check.stderr
    summary = json.loads((workdir / "drift.json").read_text())
    assert (summary["verdict"], summary["count"], summary["version"]) == ("retrain", 60, "1")
    assert "brightness" in summary["drifted"]
    assert "to retrain, label some of these images and run: crack-pipeline run-local" in check.stdout
    assert "Drift check of crack-classifier, version 1" in (workdir / "drift.html").read_text()
    assert (workdir / "report.html").exists()  # the check keeps the training's results
    tags = MlflowClient(f"sqlite:///{workdir}/mlflow.db").get_model_version("crack-classifier", "1").tags
    assert tags["crack.drift"] == "retrain"


def test_the_graph_of_an_inspection_joins_the_shares_of_all_photos(first, tmp_path):
    """Needs the champion of the test before."""
    workdir, _, _ = first
    config = load_run_config(
        "pipelines/params/local.yaml",
        ["photos=s3://crack/incoming/{date}", "inspect.shares=2"],
        local_settings(workdir),
    )
    incoming = workdir / "s3" / "crack" / "incoming" / str(datetime.datetime.now(datetime.UTC).date())
    incoming.mkdir(parents=True)
    for number in range(3):
        photo = draw_photo(number, seed=3, width=300, height=200).image
        cv2.imwrite(str(incoming / f"pier {number}.jpg"), photo[..., ::-1])
    (incoming / "torn.jpg").write_bytes(b"not an image")

    graph = [sys.executable, "-m", "pipelines.local.graph_process", "crack-inspection"]
    results = Results("join", "inspection.html", "inspection.json")
    with locked(workdir):
        done = run_locally(workdir, config.experiment, config.model_dump_json(), graph, Console(), results)

    assert (done.summary["photos"], done.summary["inspected"], done.summary["failed"]) == (4, 3, 1)
    stored = workdir / "s3" / done.summary["results"].removeprefix("s3://")
    photos = pd.read_csv(stored / "photos.csv", dtype=str, keep_default_na=False).set_index("photo")
    assert photos["error"].astype(bool).to_dict() == {
        "pier 0.jpg": False, "pier 1.jpg": False, "pier 2.jpg": False, "torn.jpg": True
    }  # fmt: skip
    page = (workdir / "inspection.html").read_text()
    assert "pier 2.jpg" in page
    assert (stored / "inspection.html").read_text() == page
