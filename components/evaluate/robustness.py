"""How the error grows when the images get worse: families of corruption by severity, on the robustness split."""

from statistics import fmean

import pandas as pd

from components.evaluate.config import EvaluateConfig
from components.shared.results.measurements import Measurement
from components.shared.results.metrics import estimate_metrics
from components.shared.results.predictions import Predictions
from components.shared.results.slices import SEEN, UNSEEN, WHOLE, Slice

Errors = tuple[float, float]  # share of wrong decisions: on corrupted images, on the same images uncorrupted
SHOWN = ("accuracy", "recall", "f1", "auroc")


def measure_corruptions(predictions: Predictions, config: EvaluateConfig) -> list[Measurement]:
    """Metrics of every family and severity, and their error against the clean images they were made from.

    A view is the slice of its corruption and severity, and the mean over a family's severities is the slice of its
    corruption. SEEN and UNSEEN are the means over the families that training augments with and over the others. WHOLE
    is the mean over all families. Decisions are P(crack) >= 0.5.

    Returns:
        accuracy, recall, f1 and auroc with intervals for each view; for each view and mean `error_increase`, the error
        less the error on the same images uncorrupted (fraction of images), and `relative_error`, the one over the
        other. Empty where no corrupted image was scored.

    Source: after Hendrycks & Dietterich 2019, section 3.2, with the network's own clean error in place of a baseline's.
    """
    table = predictions.table
    table = table[(table["corruption"] != "clean") & (table["condition"] == "after") & (table["split"] == "robustness")]
    if table.empty:
        return []
    clean = predictions.clean("robustness").set_index("sample_id")
    rows: list[Measurement] = []
    errors: dict[str, list[Errors]] = {}
    for (family, severity), view in table.groupby(["corruption", "severity"], sort=True):
        part = Slice.of(corruption=family, severity=severity)
        error = (_error(view), _error(clean.loc[view["sample_id"]]))
        errors.setdefault(str(family), []).append(error)
        rows += _view_metrics(view, part, config) + _growth(error, part, len(view))
    images = table["sample_id"].nunique()
    means = {family: _mean(views) for family, views in errors.items()}
    for family, mean in means.items():
        rows += _growth(mean, Slice.of(corruption=family), images)
    seen = [mean for family, mean in means.items() if family in config.seen_corruptions]
    unseen = [mean for family, mean in means.items() if family not in config.seen_corruptions]
    for part, members in {SEEN: seen, UNSEEN: unseen, WHOLE: seen + unseen}.items():
        if members:
            rows += _growth(_mean(members), part, images)
    return rows


def _view_metrics(view: pd.DataFrame, part: Slice, config: EvaluateConfig) -> list[Measurement]:
    labels, p_crack, groups = (view[column].to_numpy() for column in ("label", "p_crack", "group_id"))
    estimates = estimate_metrics(labels, p_crack, groups, 0.5, config.resamples, config.bootstrap_seed)
    return [
        Measurement(name, found.value, "robustness", part, "after", found.low, found.high, len(view), found.note)
        for name, found in estimates.items()
        if name in SHOWN
    ]


def _error(table: pd.DataFrame) -> float:
    return float(((table["p_crack"] >= 0.5) != table["label"]).mean())


def _mean(errors: list[Errors]) -> Errors:
    corrupted, clean = zip(*errors, strict=True)
    return fmean(corrupted), fmean(clean)


def _growth(error: Errors, part: Slice, images: int) -> list[Measurement]:
    corrupted, clean = error
    ratio, note = (corrupted / clean, "") if clean > 0 else (float("nan"), "no error on the clean images")
    return [
        Measurement("error_increase", corrupted - clean, "robustness", part, n=images),
        Measurement("relative_error", ratio, "robustness", part, n=images, note=note),
    ]
