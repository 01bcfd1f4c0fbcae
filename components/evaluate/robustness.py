"""Measure how much the error rate grows on corrupted tiles of the robustness split."""

from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from components.evaluate.config import EvaluateConfig
from components.shared.results.estimates import estimate_metrics
from components.shared.results.measurements import Measurement
from components.shared.results.predictions import Predictions
from components.shared.results.slices import SEEN, UNSEEN, WHOLE, Slice

METRICS_OF_A_VIEW = ("accuracy", "recall", "f1", "auroc")


@dataclass(frozen=True)
class Errors:
    """The error rate on corrupted tiles, and the error rate on the same tiles without corruption, both 0 to 1."""

    corrupted: float
    clean: float


def measure_corruptions(predictions: Predictions, config: EvaluateConfig) -> list[Measurement]:
    """Measure the answers to corrupted tiles, and compare them with the answers to the same tiles without corruption.

    A view is all tiles with one corruption family and one severity. A tile is called a crack if P(crack) >= 0.5. We
    measure each view, and then compute means. The slice of a measurement says what was measured:

    - A family and a severity: this view.
    - Only a family: the mean over the severities of this family.
    - SEEN: the mean over the families that training uses as augmentation.
    - UNSEEN: the mean over all other families.
    - WHOLE: the mean over all families.

    Returns:
        Each view has accuracy, recall, f1 and auroc, with intervals. Each view and each mean has `error_increase` and
        `relative_error`. `error_increase` is the error rate minus the error rate on the same tiles without corruption.
        `relative_error` is the ratio of these two error rates. The list is empty if there are no predictions for
        corrupted tiles.

    Source: Hendrycks & Dietterich 2019, section 3.2, but with the network's own clean error in place of the error of a
        baseline network.
    """
    table = predictions.table
    is_corrupted = table["corruption"] != "clean"
    corrupted = table[is_corrupted & (table["condition"] == "after") & (table["split"] == "robustness")]
    if corrupted.empty:
        return []

    clean = predictions.clean("robustness").set_index("sample_id")
    rows: list[Measurement] = []
    by_family: dict[str, list[Errors]] = {}
    for (family, severity), view in corrupted.groupby(["corruption", "severity"], sort=True):
        part = Slice.of(corruption=family, severity=severity)
        errors = Errors(_error(view), _error(clean.loc[view["sample_id"]]))
        by_family.setdefault(str(family), []).append(errors)
        rows += _view_metrics(view, part, config)
        rows += _growth(errors, part, len(view))

    tiles = corrupted["sample_id"].nunique()
    seen: list[Errors] = []
    unseen: list[Errors] = []
    for family, views in by_family.items():
        mean = _mean(views)
        rows += _growth(mean, Slice.of(corruption=family), tiles)
        same_kind = seen if family in config.seen_corruptions else unseen
        same_kind.append(mean)

    for part, means in ((SEEN, seen), (UNSEEN, unseen), (WHOLE, seen + unseen)):
        if means:
            rows += _growth(_mean(means), part, tiles)
    return rows


def _view_metrics(view: pd.DataFrame, part: Slice, config: EvaluateConfig) -> list[Measurement]:
    estimates = estimate_metrics(
        view["label"].to_numpy(),
        view["p_crack"].to_numpy(),
        view["group_id"].to_numpy(),
        0.5,
        config.resamples,
        config.bootstrap_seed,
    )

    rows = []
    for name, estimate in estimates.items():
        if name in METRICS_OF_A_VIEW:
            rows.append(Measurement.of(name, estimate, len(view), "robustness", part))
    return rows


def _error(table: pd.DataFrame) -> float:
    decisions = table["p_crack"] >= 0.5
    return float((decisions != table["label"]).mean())


def _mean(errors: list[Errors]) -> Errors:
    return Errors(fmean(one.corrupted for one in errors), fmean(one.clean for one in errors))


def _growth(errors: Errors, part: Slice, tiles: int) -> list[Measurement]:
    increase = Measurement("error_increase", errors.corrupted - errors.clean, "robustness", part, n=tiles)
    if errors.clean > 0:
        ratio = errors.corrupted / errors.clean
        return [increase, Measurement("relative_error", ratio, "robustness", part, n=tiles)]

    note = "there is no error on the tiles without corruption"
    return [increase, Measurement("relative_error", float("nan"), "robustness", part, n=tiles, note=note)]
