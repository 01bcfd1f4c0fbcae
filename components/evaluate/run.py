"""Measure one candidate. The only input is the candidate's predictions folder.

The end of a metric's name shows which answers are measured:

- A plain name (accuracy, precision, recall, f1 …) measures the network's own answer: crack if P(crack) >= 0.5.
- `_at_threshold` measures the deployed model's answer: crack if the calibrated P(crack) >= the operating threshold.
- `_calibrated` measures the calibrated P(crack).

`review_share` and `missed_share` measure the review band: the share of the tiles that need review, and the share of the
cracks that are below the band.

`false_alarms_per_photo` and `false_alarms_per_m2` are measured on each source of sound concrete.

Temperature, threshold and review band are chosen on the validation split. So on the validation split, some metrics are
too good: `missed_share`, and the metrics whose names end in `_at_threshold` or `_calibrated`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from components.evaluate.calibration_fit import calibrate
from components.evaluate.config import EvaluateConfig
from components.evaluate.false_alarms import measure_false_alarms
from components.evaluate.page import summary_markdown, write_page
from components.evaluate.plots import roc_curve
from components.evaluate.review_band import fit_band
from components.evaluate.robustness import measure_corruptions
from components.evaluate.triage_measures import measure_triage
from components.shared.data.manifest import SPLITS
from components.shared.errors import InputError
from components.shared.events import metric
from components.shared.results.calibration import Calibration, write_calibration
from components.shared.results.estimates import estimate_metrics
from components.shared.results.measurements import Estimate, Measurement, Measurements, write_measurements
from components.shared.results.metrics import confusion_matrix
from components.shared.results.predictions import Predictions, read_predictions
from components.shared.results.slices import WHOLE, Slice
from components.shared.results.triage import MISSED_SHARE, REVIEW_SHARE

AT_THRESHOLD = ("accuracy", "precision", "recall", "specificity", "f1")
CALIBRATED = ("brier", "nll", "ece")
HEADLINE = (
    "accuracy", "precision", "recall", "f1", "auroc", "recall_at_threshold", "ece_calibrated",
    REVIEW_SHARE, MISSED_SHARE,
)  # fmt: skip
SHOWN_WHILE_RUNNING = ("test_accuracy", "test_f1", "test_auroc", "robustness_accuracy")


@dataclass(frozen=True)
class Headline:
    """The numbers of an evaluation that Kubeflow shows on its own pages. All numbers are finite.

    Attributes:
        metrics: `<split>_<name>` -> value, after fine-tuning. Also contains `temperature` and `threshold`.
        confusion: 2 x 2 counts on the test split. The rows are the true classes, and the columns are the decisions at
            P(crack) >= 0.5.
        roc: False-positive rates, true-positive rates and thresholds on the test split.
    """

    metrics: dict[str, float]
    confusion: list[list[int]]
    roc: tuple[list[float], list[float], list[float]]


def evaluate_predictions(
    predictions_folder: str | Path,
    measurements_path: str | Path,
    calibration_path: str | Path,
    page_path: str | Path,
    summary_path: str | Path,
    config: EvaluateConfig,
) -> Headline:
    """Calibrate on the validation split, and measure every split. Write measurements, calibration, page and summary.

    Raises:
        InputError: The predictions are not valid (see `read_predictions`), or one class has no tiles in the validation
            split or in the test split.
    """
    predictions = read_predictions(predictions_folder)
    test = predictions.clean("test")
    if set(test["label"]) != {0, 1}:
        raise InputError(
            f"the test split has {len(test)} tiles, but all of one class; add tiles of the other class, or "
            "raise split.test"
        )

    val = predictions.clean("val")
    calibration = calibrate(val, config.threshold)
    band = fit_band(predictions.clean("train"), val, calibration, config.triage)
    calibration = replace(calibration, band=band)

    cost = Measurement("inference_gigaflops", predictions.gigaflops, n=1, note="operations on one image")
    rows = Measurements(
        [
            *measure(predictions, calibration, config),
            *measure_triage(predictions, calibration, config),
            *measure_false_alarms(predictions, calibration, config),
            *measure_corruptions(predictions, config),
            cost,
        ]
    )

    write_calibration(calibration, calibration_path)
    write_measurements(rows, measurements_path)
    write_page(predictions, predictions_folder, rows, calibration, config, page_path)
    Path(summary_path).write_text(summary_markdown(rows, calibration), encoding="utf-8")
    return _headline(test, rows, calibration)


def measure(predictions: Predictions, calibration: Calibration, config: EvaluateConfig) -> list[Measurement]:
    """Measure every metric for every split, before and after fine-tuning.

    The metrics are measured on the whole split, and on each source and surface. The training split gets no intervals,
    because the network was trained on its tiles.
    """
    rows = []
    for split, condition, part, table in slices(predictions):
        for name, estimate in _estimates(table, split, condition, calibration, config).items():
            rows.append(Measurement.of(name, estimate, len(table), split, part, condition))
    return rows


def slices(predictions: Predictions) -> Iterator[tuple[str, str, Slice, pd.DataFrame]]:
    """Yield (split, condition, slice, rows without corruption). The whole split is first, then its parts."""
    for split in SPLITS:
        for condition in ("before", "after"):
            table = predictions.clean(split, condition)
            if table.empty:
                continue

            yield split, condition, WHOLE, table
            for column in ("source", "surface"):
                for value, rows in table.groupby(column, sort=True):
                    yield split, condition, Slice.of(**{column: value}), rows


def _estimates(
    table: pd.DataFrame, split: str, condition: str, calibration: Calibration, config: EvaluateConfig
) -> dict[str, Estimate]:
    labels = table["label"].to_numpy()
    groups = table["group_id"].to_numpy()
    resamples = 0 if split == "train" else config.resamples
    seed = config.bootstrap_seed

    estimates = estimate_metrics(labels, table["p_crack"].to_numpy(), groups, 0.5, resamples, seed)
    if condition == "before":
        return estimates

    p_crack = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
    served = estimate_metrics(labels, p_crack, groups, calibration.threshold, resamples, seed)
    for name in AT_THRESHOLD:
        estimates[f"{name}_at_threshold"] = served[name]
    for name in CALIBRATED:
        estimates[f"{name}_calibrated"] = served[name]
    return estimates


def _headline(test: pd.DataFrame, rows: Measurements, calibration: Calibration) -> Headline:
    metrics = {}
    for row in rows.where(slice=WHOLE, condition="after"):
        if row.split != "train" and row.name in HEADLINE:
            metrics[f"{row.split}_{row.name}"] = row.value
    for name in SHOWN_WHILE_RUNNING:
        if name in metrics:
            metric(name, metrics[name])

    metrics |= {"temperature": calibration.temperature, "threshold": calibration.threshold}
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}

    labels = test["label"].to_numpy()
    p_crack = test["p_crack"].to_numpy()
    false_rate, true_rate, thresholds = roc_curve(labels, p_crack)
    roc = (false_rate.tolist(), true_rate.tolist(), thresholds.tolist())
    return Headline(finite, confusion_matrix(labels, p_crack).tolist(), roc)
