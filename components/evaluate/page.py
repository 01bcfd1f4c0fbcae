"""The evaluation page and its summary, drawn from the measurements and the predictions they rest on."""

import math
from collections.abc import Iterable
from pathlib import Path

from components.evaluate.config import EvaluateConfig
from components.evaluate.plots import Curves, draw_confusions, draw_corruptions, draw_curves, draw_reliability
from components.shared.page import Page
from components.shared.results.calibration import Calibration
from components.shared.results.measurements import Measurements, footnote, shown_row, spoken, with_interval
from components.shared.results.metrics import METRICS, classification_report, confusion_matrix
from components.shared.results.predictions import VIEWS, Predictions
from components.shared.results.slices import SEEN, UNSEEN, WHOLE, Slice

HEADLINE = ("accuracy", "precision", "recall", "f1", "auroc")
OF_SLICES = ("accuracy", "auroc", "recall_at_threshold")
MEANS = {WHOLE: "all families", SEEN: "seen families", UNSEEN: "unseen families"}
COLUMNS = (("test", "before"), ("test", "after"), ("robustness", "before"), ("robustness", "after"))
DECISIONS = (
    "Accuracy, precision, recall, F1 and the confusion matrices are the network's own answer, **P(crack) ≥ 0.5**. "
    "The deployed model divides the logits by the temperature {temperature:.3g} and calls a crack where the calibrated "
    "**P(crack) ≥ {threshold:.3f}** ({rule}); rows named *at threshold* show that answer. Temperature and threshold "
    "were fitted on the validation split. Brackets are 95 % intervals, by bootstrap over {groups}."
)


def write_page(
    predictions: Predictions,
    predictions_folder: str | Path,
    rows: Measurements,
    calibration: Calibration,
    config: EvaluateConfig,
    path: str | Path,
) -> None:
    """Write the evaluation page: what was decided how, the numbers, the pictures, the slices."""
    page = Page(f"Evaluation of {config.candidate}")
    groups = f"groups (photos), {config.resamples} resamples"
    page.text(DECISIONS.format(groups=groups, **vars(calibration)))
    page.text(footnote(row for row in rows if row.slice.get("corruption") is None))
    page.heading("All metrics")
    names = dict.fromkeys((*METRICS, *sorted(row.name for row in rows.where(split="test", slice=WHOLE))))
    page.table(["metric", *(f"{split}, {condition}" for split, condition in COLUMNS)], _metric_rows(rows, names))
    samples = _samples(predictions)
    page.heading("Errors by class")
    page.figure(draw_confusions(samples), "Confusion matrices at P(crack) ≥ 0.5", "confusion matrices")
    page.table(["sample", "class", "precision", "recall", "F1", "images"], _class_rows(samples))
    page.heading("Ranking")
    page.figure(draw_curves(samples), "ROC and precision-recall curves", "ROC and precision-recall curves")
    page.heading("Calibration")
    page.figure(
        draw_reliability(_calibrated(predictions, calibration)),
        f"Ten bins of equal mass, after fine-tuning, before and after temperature {calibration.temperature:.3g}",
        "reliability diagram and histogram of P(crack)",
    )
    _show_corruptions(page, rows, config, Path(predictions_folder) / VIEWS)
    page.heading("By source and surface, after fine-tuning")
    page.table(["split", "slice", "images", *map(spoken, OF_SLICES)], _slice_rows(rows))
    page.write(path)


def summary_markdown(rows: Measurements, calibration: Calibration) -> str:
    """The headline numbers and the operating point as Markdown."""
    lines = ["| metric | " + " | ".join(f"{split}, {condition}" for split, condition in COLUMNS) + " |"]
    lines.append("|---|" + "---|" * len(COLUMNS))
    lines += ["| " + " | ".join(row) + " |" for row in _metric_rows(rows, HEADLINE)]
    point = f"Temperature {calibration.temperature:.3g}, threshold {calibration.threshold:.3f} ({calibration.rule})."
    told = footnote(row for row in rows.where(slice=WHOLE) if row.name in HEADLINE)
    return "\n\n".join(filter(None, ("\n".join(lines), told, point))) + "\n"


def _metric_rows(rows: Measurements, names: Iterable[str]) -> list[list[str]]:
    table = []
    for name in names:
        numbers = [rows.find(name, split, condition=condition) for split, condition in COLUMNS]
        table.append([spoken(name), *map(shown_row, numbers)])
    return table


def _slice_rows(rows: Measurements) -> list[list[str]]:
    table = []
    for row in rows.where(name="accuracy", condition="after"):
        whole = rows.find("accuracy", row.split)
        is_everything = row.slice != WHOLE and whole is not None and row.n == whole.n
        if row.split != "train" and row.slice.get("corruption") is None and not is_everything:
            numbers = [rows.find(name, row.split, row.slice) for name in OF_SLICES]
            table.append([row.split, str(row.slice), str(row.n), *map(shown_row, numbers)])
    return table


def _show_corruptions(page: Page, rows: Measurements, config: EvaluateConfig, views: Path) -> None:
    overall = rows.find("error_increase", "robustness")
    if overall is None:
        return

    page.heading("Corrupted images, after fine-tuning")
    seen = ", ".join(config.seen_corruptions).replace("_", " ") or "none of them"
    page.text(
        f"{overall.n} robustness images, made worse on purpose. *Error increase*: share of wrong decisions less "
        f"that on the same images as they were. *Seen*: training augments with it, if weaker ({seen})."
    )
    if views.is_file():
        page.image(views.read_bytes(), "One image in every view", "one image in every corruption and severity")

    increases = rows.where(name="error_increase")
    page.figure(
        draw_corruptions({row.slice: row.value for row in increases if row.slice.get("severity")}),
        "Error increase by family and severity, percentage points",
        "heat map of the error increase",
    )

    means = [row for row in increases if not row.slice.get("severity")]
    table = []
    for row in sorted(means, key=lambda row: row.value):
        relative = rows.find("relative_error", "robustness", row.slice)
        ratio = f"{relative.value:.2f}" if relative and math.isfinite(relative.value) else "-"
        table.append([_family(row.slice), _seen(row.slice, config), f"{row.value:+.4f}", ratio])
    page.table(["mean of", "seen", "error increase", "error, relative to clean"], table)


def _family(part: Slice) -> str:
    return MEANS.get(part) or str(part.get("corruption")).replace("_", " ")


def _seen(part: Slice, config: EvaluateConfig) -> str:
    if part in MEANS:
        return ""
    return "yes" if part.get("corruption") in config.seen_corruptions else "no"


def _samples(predictions: Predictions) -> Curves:
    tables = {f"{split}, {condition}": predictions.clean(split, condition) for split, condition in COLUMNS}
    return {n: (t["label"].to_numpy(), t["p_crack"].to_numpy()) for n, t in tables.items() if len(t)}


def _calibrated(predictions: Predictions, calibration: Calibration) -> Curves:
    curves = {}
    for split in ("test", "robustness"):
        table = predictions.clean(split)
        if len(table):
            labels = table["label"].to_numpy()
            curves[split] = (labels, table["p_crack"].to_numpy())
            p_crack = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
            curves[f"{split}, calibrated"] = (labels, p_crack)
    return curves


def _class_rows(samples: Curves) -> list[list[str]]:
    return [
        [name, label, *(with_interval(row[key]) for key in ("precision", "recall", "f1")), f"{row['images']:.0f}"]
        for name, (labels, p_crack) in samples.items()
        for label, row in classification_report(confusion_matrix(labels, p_crack)).items()
    ]
