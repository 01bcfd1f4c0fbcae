"""Measurements of one candidate, from its predictions table alone.

One rule for decisions, used everywhere: the plain names (accuracy, precision, recall, f1 …) are the network's own
answer, P(crack) >= 0.5. Names that end in `_at_threshold` are the answer the deployed model gives: calibrated
P(crack) >= the operating threshold. Names that end in `_calibrated` are of the calibrated P(crack). Temperature and
threshold are fitted on the validation split, so the validation rows of those names are optimistic.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from components.evaluate.calibration_fit import calibrate
from components.evaluate.config import EvaluateConfig
from components.evaluate.page import summary_markdown, write_page
from components.evaluate.plots import roc_curve
from components.evaluate.robustness import measure_corruptions
from components.shared.data.manifest import SPLITS
from components.shared.errors import InputError
from components.shared.events import metric
from components.shared.results.calibration import Calibration, write_calibration
from components.shared.results.measurements import Measurement, Measurements, write_measurements
from components.shared.results.metrics import Estimate, confusion_matrix, estimate_metrics
from components.shared.results.predictions import Predictions, read_predictions
from components.shared.results.slices import WHOLE, Slice

AT_THRESHOLD = ("accuracy", "precision", "recall", "specificity", "f1")
CALIBRATED = ("brier", "nll", "ece")
HEADLINE = ("accuracy", "precision", "recall", "f1", "auroc", "recall_at_threshold", "ece_calibrated")


@dataclass(frozen=True)
class Headline:
    """What Kubeflow's own views show of an evaluation; plain finite numbers only.

    Attributes:
        metrics: `<split>_<name>` -> value, after fine-tuning; and temperature and threshold.
        confusion: 2 x 2 counts on the test split, rows the truth, columns the decision at P(crack) >= 0.5.
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
    """Calibrate on validation, measure every split, and write measurements, calibration.json, page and summary.

    Raises:
        InputError: The predictions break their contract, or validation or test lacks a class.
    """
    predictions = read_predictions(predictions_folder)
    test = predictions.clean("test")
    if set(test["label"]) != {0, 1}:
        raise InputError(f"the test split holds {len(test)} images and not both classes; enlarge it")
    calibration = calibrate(predictions.clean("val"), config.threshold)
    cost = Measurement("inference_gigaflops", predictions.gigaflops, n=1, note="operations on one image")
    rows = Measurements([*measure(predictions, calibration, config), *measure_corruptions(predictions, config), cost])
    write_calibration(calibration, calibration_path)
    write_measurements(rows, measurements_path)
    write_page(predictions, predictions_folder, rows, calibration, config, page_path)
    Path(summary_path).write_text(summary_markdown(rows, calibration), encoding="utf-8")
    return _headline(test, rows, calibration)


def _headline(test: pd.DataFrame, rows: Measurements, calibration: Calibration) -> Headline:
    metrics = {
        f"{row.split}_{row.name}": row.value
        for row in rows.where(slice=WHOLE, condition="after")
        if row.split != "train" and row.name in HEADLINE
    }
    for name in ("test_accuracy", "test_f1", "test_auroc", "robustness_accuracy"):
        if name in metrics:
            metric(name, metrics[name])
    metrics |= {"temperature": calibration.temperature, "threshold": calibration.threshold}
    labels, p_crack = test["label"].to_numpy(), test["p_crack"].to_numpy()
    false_rate, true_rate, thresholds = (points.tolist() for points in roc_curve(labels, p_crack))
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return Headline(finite, confusion_matrix(labels, p_crack).tolist(), (false_rate, true_rate, thresholds))


def measure(predictions: Predictions, calibration: Calibration, config: EvaluateConfig) -> list[Measurement]:
    """Every metric for every split, condition, source and surface, and for all of a split together.

    The train split, of which only a sample is scored and which the network knows, is measured without intervals.
    """
    rows = []
    for split, condition, part, table in slices(predictions):
        for name, estimate in _estimates(table, condition, calibration, config).items():
            where = (split, part, condition)
            rows.append(
                Measurement(name, estimate.value, *where, estimate.low, estimate.high, len(table), estimate.note)
            )
    return rows


def slices(predictions: Predictions) -> Iterator[tuple[str, str, Slice, pd.DataFrame]]:
    """Yield (split, condition, slice, clean rows): first the whole split, then each source and each surface."""
    for split in SPLITS:
        for condition in ("before", "after"):
            table = predictions.clean(split, condition)
            if len(table):
                yield split, condition, WHOLE, table
                for column in ("source", "surface"):
                    for value, part in table.groupby(column, sort=True):
                        yield split, condition, Slice.of(**{column: value}), part


def _estimates(
    table: pd.DataFrame, condition: str, calibration: Calibration, config: EvaluateConfig
) -> dict[str, Estimate]:
    labels, groups = table["label"].to_numpy(), table["group_id"].to_numpy()
    resamples = 0 if table["split"].iloc[0] == "train" else config.resamples
    options = (resamples, config.bootstrap_seed)
    estimates = estimate_metrics(labels, table["p_crack"].to_numpy(), groups, 0.5, *options)
    if condition == "after":
        p_crack = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
        served = estimate_metrics(labels, p_crack, groups, calibration.threshold, *options)
        estimates |= {f"{name}_at_threshold": served[name] for name in AT_THRESHOLD}
        estimates |= {f"{name}_calibrated": served[name] for name in CALIBRATED}
    return estimates
