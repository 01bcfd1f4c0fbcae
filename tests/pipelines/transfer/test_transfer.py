import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from components.shared.errors import InputError
from components.shared.results.calibration import Calibration
from components.shared.results.predictions import Predictions
from components.shared.services import mlflow_runs
from pipelines.config.parameter_file import load_run_config
from pipelines.config.transfer_config import TransferLimit
from pipelines.transfer.matrix import Matrix, cells_of, check_limits, everything_cracked
from pipelines.transfer.page import write_page
from pipelines.transfer.run import chosen_candidate, transfer
from tests.browser import DESK, PHONE, in_first_screen, open_page, scroll_width
from tests.browser import browser as browser
from tests.mlflow_store import new_mlflow_store

DOMAINS = ("deck", "pavement", "wall")
SMALL = (
    "candidates:\n  cnn:\n    train: {architecture: resnet10t, weights: none, input_size: 32, steps: 2, workers: 0}\n"
)


def answers(left_out: str, skill: dict[str, float]) -> Predictions:
    """Return answers to 120 tiles of each surface. With a higher skill, more of them are right and certain.

    The photos of the pavement are unknown, so a tile's digest names its group.
    """
    rng = np.random.default_rng(0)
    tables = []
    for domain in DOMAINS:
        labels = np.arange(120) % 3 == 0
        margin = (2 * labels - 1) * skill[domain] + rng.normal(0, 1, 120)
        split = "robustness" if domain == left_out else "test"
        columns = {
            "sample_id": [f"{domain}{n}" for n in range(120)], "split": split, "label": labels.astype(int),
            "group_id": [f"{n // 10:064x}" if domain == "pavement" else f"{domain}{n // 10}" for n in range(120)],
            "source": "s", "surface": domain,
            "condition": "after", "corruption": "clean", "severity": 0, "logit_0": 0.0, "logit_1": margin,
        }  # fmt: skip
        tables.append(pd.DataFrame(columns))
    return Predictions(pd.concat(tables, ignore_index=True), np.zeros((360, 1), np.float32))


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    cells = []
    for left_out, skill in (("deck", 2.0), ("pavement", 0.2)):
        skills = dict.fromkeys(DOMAINS, 3.0) | {left_out: skill}
        cells += cells_of(left_out, "surface", answers(left_out, skills), Calibration())
    return Matrix("surface", ("deck", "pavement"), tuple(cells), {})


def test_the_matrix_has_seen_and_unseen_domains_and_the_worst_one_is_gated(matrix, tmp_path):
    unseen = matrix.unseen("auroc")
    assert list(unseen) == ["deck", "pavement"]
    assert unseen["pavement"] < 0.75 < unseen["deck"]
    assert matrix.find("pavement", "deck").numbers["auroc"].value > 0.95

    limits = [TransferLimit(over=over, name="auroc", limit=0.75) for over in ("mean", "worst")]
    mean, worst = check_limits(matrix, limits)
    assert mean.passed
    assert mean.value == pytest.approx(np.mean(list(unseen.values())))
    assert not worst.passed
    assert (worst.domain, worst.value) == ("pavement", unseen["pavement"])

    write_page(matrix, [mean, worst], "cnn", tmp_path / "page.html")
    page = tmp_path.joinpath("page.html").read_text()
    assert "1 of 2 limits on unseen surfaces are missed." in page
    assert "every tile a crack" in page
    assert "The photos of these surfaces are not all known: pavement." in page


def test_a_surface_without_a_network_misses_the_limit_on_the_worst_one(matrix, tmp_path):
    failed = replace(matrix, domains=DOMAINS, failed={"wall": "there are too few photos outside the wall"})
    assert failed.find("wall", "deck") is None
    mean, worst = check_limits(
        failed, [TransferLimit(over=over, name="auroc", limit=0.1) for over in ("mean", "worst")]
    )
    assert mean.passed
    assert (worst.passed, worst.domain) == (False, "wall")

    write_page(failed, [mean, worst], "cnn", tmp_path / "page.html")
    assert "there are too few photos outside the wall" in tmp_path.joinpath("page.html").read_text()


def test_calling_everything_cracked_has_the_numbers_that_it_has():
    numbers = everything_cracked(0.25)
    assert numbers == {"balanced_accuracy": 0.5, "auroc": 0.5, "precision": 0.25, "recall": 1.0, "f1": 0.4}
    assert np.isnan(everything_cracked(0.0)["recall"])


@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
def test_the_page_in_a_browser(matrix, tmp_path, browser, window):
    results = check_limits(matrix, [TransferLimit(over="worst", name="auroc", limit=0.75)])
    write_page(matrix, results, "cnn", tmp_path / "page.html")
    page, complaints = open_page(browser, tmp_path / "page.html", window)
    assert in_first_screen(page, ".callout")
    assert page.evaluate("document.querySelector('figure img').naturalWidth") > 300
    metrics = page.get_by_text("trained without", exact=True)
    assert not metrics.is_visible()
    page.get_by_text("The metrics of the whole matrix").click()
    assert metrics.is_visible()
    assert scroll_width(page) <= window["width"]
    assert complaints == []


def test_each_source_is_left_out_once_and_a_second_call_repeats_only_what_was_damaged(store, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path / "mlflow"))
    monkeypatch.setenv("CRACK_EVENTS", str(tmp_path / "events"))
    mlflow_runs.client().create_experiment("crack-training", (tmp_path / "artifacts").as_uri())
    file = tmp_path / "p.yaml"
    data = ",".join(f"synthetic://?images=80&seed={seed}&size=32&source=bridge{seed}" for seed in (1, 2))
    settings = "ingest: {min_images: 10, overlap: null}\nsplit: {val: 0.3, test: 0.3, min_images: 2, leak_sample: 0}\n"
    file.write_text(f"{SMALL}data_uri: {data}\n{settings}")
    cnn = "candidates.cnn.train"
    options = [f"store={s3}", f"cache={tmp_path / 'cache'}", f"{cnn}.architecture=test_resnet", f"{cnn}.precision=fp32"]
    config = load_run_config(file, options)

    (tmp_path / "transfer").mkdir()
    stages: list[str] = []
    first = transfer(config, tmp_path / "transfer", stages.append)
    assert stages == ["ingesting the data", "without bridge1 (1 of 2)", "without bridge2 (2 of 2)"]
    assert (first.domain_kind, first.domains, first.failed) == ("source", ("bridge1", "bridge2"), {})
    assert [(cell.left_out, cell.domain, cell.unseen) for cell in first.cells] == [
        ("bridge1", "bridge1", True),
        ("bridge1", "bridge2", False),
        ("bridge2", "bridge1", False),
        ("bridge2", "bridge2", True),
    ]
    tiles = {cell.domain: cell.tiles for cell in first.cells if cell.unseen}
    assert all(cell.tiles < tiles[cell.domain] for cell in first.cells if not cell.unseen)  # only their test tiles
    assert reused(tmp_path / "events") == 0

    (damaged, _) = (key for key, _ in store.list("runs/") if key.endswith("/predictions.parquet"))
    store.put_bytes(damaged.replace("predictions.parquet", "done.json"), b"")
    assert repr(transfer(config, tmp_path / "transfer", stages.append)) == repr(first)  # NaN is not equal to NaN
    assert reused(tmp_path / "events") == 3  # two trainings, and the predictions of one of them


def reused(events) -> int:
    return sum(json.loads(line)["event"] == "reused" for line in events.read_text().splitlines())


def test_one_domain_cannot_be_left_out_and_a_candidate_must_exist(store, s3, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(SMALL + "data_uri: synthetic://?images=60&seed=1&size=32\n")
    config = load_run_config(file, [f"store={s3}"])
    with pytest.raises(
        InputError, match=r"the data have only one source, .*; add another source, or set transfer\.each to surf"
    ):
        transfer(config, tmp_path, lambda stage: None)

    with pytest.raises(InputError, match=r"transfer\.candidate is 'vit'; give one of the candidates cnn"):
        chosen_candidate(load_run_config(file, ["transfer.candidate=vit"]))
