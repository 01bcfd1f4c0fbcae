"""Compare the measurements of evaluate with those of scikit-learn on the same rows, for every slice."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from components.evaluate.config import EvaluateConfig, ThresholdConfig, TriageConfig
from components.evaluate.plots import precision_recall_curve, roc_curve
from components.evaluate.run import evaluate_predictions
from components.shared.errors import InputError
from components.shared.results.calibration import read_calibration
from components.shared.results.measurements import Measurements, read_measurements
from components.shared.results.predictions import write_predictions
from components.shared.results.slices import SEEN, UNSEEN, WHOLE, Slice

CONFIG = EvaluateConfig(candidate="cnn", resamples=100, seen_corruptions=("low_light",))


def answers(
    split: str, condition: str, corruption: str = "clean", severity: int = 0, skill: float = 2.0
) -> pd.DataFrame:
    """Draw random answers to 80 tiles of 20 photos, from two sources and two surfaces."""
    rng = np.random.default_rng([len(split), len(condition), severity])
    index = np.arange(80)
    label = index % 2
    names = pd.Series(index).astype(str)
    photos = pd.Series(index // 4).astype(str)

    return pd.DataFrame(
        {
            "sample_id": split + names,
            "split": split,
            "group_id": split + photos,
            "source": np.where(index < 30, "ccic", "sdnet2018"),
            "surface": np.where(index % 3 == 0, "deck", "wall"),
            "label": label,
            "condition": condition,
            "corruption": corruption,
            "severity": severity,
            "logit_0": 0.0,
            "logit_1": rng.normal(size=80) + skill * (label - 0.5) * (condition == "after"),
        }
    )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    tables = []
    for split in ("train", "val", "test", "robustness"):
        for condition in ("before", "after"):
            tables.append(answers(split, condition))
    for family in ("fog", "low_light"):
        for severity in (1, 5):
            tables.append(answers("robustness", "after", family, severity, skill=2 - severity / 3).head(40))
    return pd.concat(tables, ignore_index=True)


def run(table: pd.DataFrame, folder: Path, config: EvaluateConfig = CONFIG):
    clean = int(((table.condition == "after") & (table.corruption == "clean")).sum())
    write_predictions(table, np.zeros((clean, 1)), folder)

    return evaluate_predictions(
        folder,
        folder / "measurements.parquet",
        folder / "calibration.json",
        folder / "page.html",
        folder / "summary.md",
        config,
    )


@pytest.fixture(scope="module")
def evaluated(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("evaluated")
    headline = run(table, folder)
    return folder, headline, read_measurements(folder / "measurements.parquet")


@pytest.mark.parametrize("split", ["val", "test", "robustness"])
@pytest.mark.parametrize("condition", ["before", "after"])
@pytest.mark.parametrize(
    "part",
    [
        WHOLE,
        Slice.of(source="ccic"),
        Slice.of(source="sdnet2018"),
        Slice.of(surface="deck"),
        Slice.of(surface="wall"),
    ],
    ids=str,
)
def test_every_slice_is_measured_separately(
    evaluated, table: pd.DataFrame, split: str, condition: str, part: Slice
) -> None:
    rows = table[(table.split == split) & (table.condition == condition) & (table.corruption == "clean")]
    for column, value in part.pairs:
        rows = rows[rows[column] == value]

    found: Measurements = evaluated[2]
    row = found.find("auroc", split, part, condition)
    assert row.value == pytest.approx(sklearn_metrics.roc_auc_score(rows.label, rows.logit_1))
    assert row.n == len(rows)
    assert row.low < row.value <= row.high

    f1 = sklearn_metrics.f1_score(rows.label, rows.logit_1 >= 0)
    assert found.find("f1", split, part, condition).value == pytest.approx(f1)


def test_served_answers_use_temperature_and_threshold(evaluated, table: pd.DataFrame) -> None:
    folder, headline, found = evaluated
    calibration = json.loads((folder / "calibration.json").read_text())
    rows = table[(table.split == "test") & (table.condition == "after")]
    p_crack = 1 / (1 + np.exp(-rows.logit_1 / calibration["temperature"]))

    recall = sklearn_metrics.recall_score(rows.label, p_crack >= calibration["threshold"])
    assert found.find("recall_at_threshold").value == pytest.approx(recall)

    loss = sklearn_metrics.log_loss(rows.label, p_crack)
    assert found.find("nll_calibrated").value == pytest.approx(loss)
    assert found.find("recall_at_threshold", "val").value >= 0.95
    assert headline.metrics["test_recall_at_threshold"] == pytest.approx(recall)
    assert headline.metrics["threshold"] == calibration["threshold"]


def test_too_few_photos_give_a_band_that_lets_no_tile_pass(evaluated, table: pd.DataFrame) -> None:
    folder, headline, found = evaluated
    calibration = json.loads((folder / "calibration.json").read_text())
    band = calibration["band"]
    assert (band["low"], band["high"], band["photos"], band["photos_needed"]) == (0, calibration["threshold"], 20, 171)

    rows = table[(table.split == "test") & (table.condition == "after")]
    p_crack = 1 / (1 + np.exp(-rows.logit_1 / calibration["temperature"]))
    review = found.find("review_share")
    assert review.value == pytest.approx((p_crack < band["high"]).mean())
    assert review.low < review.value < review.high
    assert found.find("missed_share").value == headline.metrics["test_missed_share"] == 0
    for file in ("page.html", "summary.md"):
        text = (folder / file).read_text()
        assert "at least 171 photos with cracks, but it has 20." in text


def test_the_review_band_is_chosen_on_validation_and_measured_on_the_other_splits(table, tmp_path) -> None:
    config = CONFIG.model_copy(update={"triage": TriageConfig(missed=0.4), "threshold": ThresholdConfig(recall=1)})
    clean = table[table.corruption == "clean"]
    run(clean, tmp_path, config)
    calibration = read_calibration(tmp_path / "calibration.json")
    found = read_measurements(tmp_path / "measurements.parquet")
    assert 0 < calibration.band.low <= calibration.band.high == calibration.threshold

    for split in ("val", "test", "robustness"):
        rows = clean[(clean.split == split) & (clean.condition == "after")]
        p_crack = calibration.p_crack(rows.logit_0.to_numpy(), rows.logit_1.to_numpy())
        missed = found.find("missed_share", split)
        assert missed.value == pytest.approx((p_crack[rows.label == 1] < calibration.band.low).mean())
        assert missed.low <= missed.value <= missed.high
        assert found.find("review_share", split).value == pytest.approx(calibration.needs_review(p_crack).mean())
    assert found.find("missed_share", "val").value < 0.4

    shuffled = clean.copy()
    test = shuffled.split == "test"
    shuffled.loc[test, "logit_1"] = shuffled.loc[test, "logit_1"].to_numpy()[::-1]
    run(shuffled, tmp_path / "again", config)
    assert read_calibration(tmp_path / "again" / "calibration.json") == calibration


def test_corruptions_are_compared_with_the_same_clean_tiles(evaluated, table: pd.DataFrame) -> None:
    found: Measurements = evaluated[2]

    def increase(part: Slice) -> float:
        return found.find("error_increase", "robustness", part).value

    rows = table[(table.split == "robustness") & (table.condition == "after")]
    wrong = (rows.logit_1 >= 0) != rows.label
    clean = wrong[rows.corruption == "clean"].head(40).mean()

    grown = {}
    for family in ("fog", "low_light"):
        mild = wrong[(rows.corruption == family) & (rows.severity == 1)].mean()
        severe = wrong[(rows.corruption == family) & (rows.severity == 5)].mean()
        grown[family] = (mild + severe) / 2 - clean
        assert increase(Slice.of(corruption=family, severity=5)) == pytest.approx(severe - clean)
        assert increase(Slice.of(corruption=family)) == pytest.approx(grown[family])

    assert increase(UNSEEN) == pytest.approx(grown["fog"])
    assert increase(SEEN) == pytest.approx(grown["low_light"])
    overall = np.mean(list(grown.values()))
    assert increase(WHOLE) == pytest.approx(overall)
    assert found.find("relative_error", "robustness").value == pytest.approx((overall + clean) / clean)
    assert 0.0 < found.find("accuracy", "robustness", Slice.of(corruption="fog", severity=5)).value < 1.0


def test_kubeflows_views_are_finite_json(evaluated) -> None:
    _, headline, _ = evaluated
    json.dumps(headline.__dict__, allow_nan=False)
    false_rate, true_rate, thresholds = headline.roc
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert len(false_rate) <= 200
    assert thresholds == sorted(thresholds, reverse=True)
    assert np.sum(headline.confusion) == 80


def test_the_page_states_the_rule_and_loads_no_other_file(evaluated) -> None:
    page = (evaluated[0] / "page.html").read_text()
    assert "P(crack) ≥ 0.5" in page
    assert "surface=deck" in page
    assert "low light" in page
    assert not re.search(r"(src|href)=\"?https?:", page)


def test_the_page_shows_false_alarms_on_sound_concrete(table: pd.DataFrame, tmp_path: Path) -> None:
    sound = (table.label == 0) & (table.source == "ccic")
    marked = table.assign(source=table.source.where(~sound, "walls"))
    run(marked, tmp_path, CONFIG.model_copy(update={"tile_mm": 100}))
    found = read_measurements(tmp_path / "measurements.parquet")
    per_m2 = found.find("false_alarms_per_m2", slice=Slice.of(source="walls"))
    page = (tmp_path / "page.html").read_text()
    assert per_m2.n == 15
    assert f"walls, test, 15 tiles: false alarms per m² {per_m2.value:.4f} [" in page


def test_a_test_split_of_one_class_is_refused(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="test split has 40 tiles, but all of one class"):
        run(table[(table.split != "test") | (table.label == 0)], tmp_path)


def test_the_curves_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=150)
    p_crack = np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2)
    false_rate, true_rate, thresholds = roc_curve(labels, p_crack)
    expected = sklearn_metrics.roc_curve(labels, p_crack, drop_intermediate=False)
    assert np.allclose(false_rate, expected[0])
    assert np.allclose(true_rate, expected[1])
    assert np.allclose(thresholds[1:], expected[2][1:])

    recall, precision = precision_recall_curve(labels, p_crack)
    expected = sklearn_metrics.precision_recall_curve(labels, p_crack)
    assert np.allclose(precision, expected[0][-2::-1])
    assert np.allclose(recall, expected[1][-2::-1])
