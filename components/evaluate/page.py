"""Write the evaluation page, and its summary, from the predictions and their measurements."""

import math
from collections.abc import Iterable
from pathlib import Path

from components.evaluate.calibration_fit import operating_curve
from components.evaluate.config import EvaluateConfig
from components.evaluate.plots import (
    Scored,
    draw_confusions,
    draw_corruptions,
    draw_curves,
    draw_operating_curve,
    draw_reliability,
)
from components.evaluate.triage_page import show_triage
from components.shared.markdown import markdown_table
from components.shared.page import Page
from components.shared.results.calibration import Calibration
from components.shared.results.false_alarms import false_alarms_in_words
from components.shared.results.group_kind import interval_note
from components.shared.results.measurements import Measurements, footnote, shown_row, spoken, with_interval
from components.shared.results.metrics import METRICS, classification_report, confusion_matrix
from components.shared.results.predictions import VIEWS, Predictions
from components.shared.results.slices import SEEN, UNSEEN, WHOLE, Slice
from components.shared.results.triage import triage_in_words

HEADLINE = ("accuracy", "precision", "recall", "f1", "auroc")
METRICS_BY_SLICE = ("accuracy", "auroc", "recall_at_threshold")
MEANS = {WHOLE: "all families", SEEN: "seen families", UNSEEN: "unseen families"}
COLUMNS = (("test", "before"), ("test", "after"), ("robustness", "before"), ("robustness", "after"))
COLUMN_TITLES = [f"{split}, {condition}" for split, condition in COLUMNS]
DECISIONS = (
    "The page shows two kinds of answers. P(crack) is the probability of a crack, from 0 to 1.\n\n"
    "- The network's own answer: a tile is a crack if **P(crack) ≥ 0.5**. Accuracy, precision, recall, F1 and the "
    "confusion matrices use this answer.\n"
    "- The deployed model's answer: P(crack) is calibrated first, so that it agrees better with the share of cracks. "
    "For this, the network's outputs (logits) are divided by the temperature {temperature:.3g}. Then a tile is a crack "
    "if the calibrated **P(crack) ≥ {threshold:.3g}**. The rule for this threshold is: {rule}. The "
    "rows with the words *at threshold* use this answer.\n\n"
    "Temperature and threshold were fitted on the validation split. Numbers in brackets are 95 % intervals. They are "
    "computed from {resamples} random draws of the photos, with replacement (bootstrap). *Before* means before "
    "fine-tuning, and *after* means after fine-tuning."
)
ON_VALIDATION = (
    "On the validation split, the model with this threshold misses {missed} of {cracks} cracks. It raises a false "
    "alarm on {alarms} of {others} tiles without a crack. A coloured band shows how uncertain a curve is: at each "
    "threshold, 95 % of the random draws of photos give a value in this band."
)
CORRUPTED = (
    "We made {tiles} tiles of the robustness split worse on purpose, with blur, noise and other corruptions. The "
    "error rate is the share of wrong answers.\n\n"
    "- *Error increase* is the error rate on the corrupted tiles minus the error rate on the same tiles without "
    "corruption.\n"
    "- *Error ratio* is the error rate on the corrupted tiles divided by the error rate on the same tiles without "
    "corruption.\n"
    "- *Seen* means that the training uses a weaker form of the same corruption. Seen corruptions: {seen}."
)
METRICS_IN_WORDS = (
    "- *Precision*: of the tiles that are called a crack, the share that really has a crack.\n"
    "- *Recall*: of the tiles with a crack, the share that is called a crack.\n"
    "- *Specificity*: of the tiles without a crack, the share that is answered 'no crack'.\n"
    "- *Balanced accuracy* is the mean of recall and specificity. *F1* is the harmonic mean of precision and recall. "
    "*MCC* is the correlation of answer and label, from -1 to 1.\n"
    "- *AUROC* is the probability that a cracked tile gets a higher P(crack) than a tile without a crack. *Average "
    "precision* is the area under the precision-recall curve.\n"
    "- *Brier*, *NLL* and *ECE* measure the errors of P(crack) itself. For all three, 0 is best. *Brier* is the mean "
    "squared error of P(crack). *NLL* is the mean negative logarithm of the probability that the network gives to the "
    "true class. For *ECE*, the tiles are sorted by P(crack) and divided into bins. For each bin, we compute the "
    "difference between the mean P(crack) and the share of cracks. ECE is the mean of these differences.\n"
    "- *Review share*: of all tiles, the share that a person must look at. *Missed share*: of the tiles with a crack, "
    "the share that is answered 'no crack' and gets no review."
)


def write_page(
    predictions: Predictions,
    predictions_folder: str | Path,
    rows: Measurements,
    calibration: Calibration,
    config: EvaluateConfig,
    path: str | Path,
) -> None:
    """Write the evaluation page. It explains the decisions, and shows the numbers, the figures and the slices.

    Args:
        predictions: The candidate's predictions.
        predictions_folder: The folder of the predictions, which may contain a figure of the corruptions.
        rows: The measurements of these predictions.
        calibration: Temperature and threshold.
        config: The parameters of the evaluation.
        path: File to write: the page.
    """
    page = Page(f"Evaluation of {config.candidate}")
    page.text(DECISIONS.format(resamples=config.resamples, **vars(calibration)))
    page.text(interval_note(predictions.clean("test")["group_id"]))
    page.text(footnote(row for row in rows if row.slice.get("corruption") is None))

    page.heading("All metrics")
    measured = sorted(row.name for row in rows.where(split="test", slice=WHOLE))
    names = dict.fromkeys((*METRICS, *measured))
    page.table(["metric", *COLUMN_TITLES], _metric_rows(rows, names))
    page.text(METRICS_IN_WORDS)

    samples = _samples(predictions)
    page.heading("Errors by class")
    page.figure(draw_confusions(samples), "Confusion matrices at P(crack) ≥ 0.5", "confusion matrices")
    page.table(["split", "class", "precision", "recall", "F1", "tiles"], _class_rows(samples))

    page.heading("Ranking")
    page.figure(
        draw_curves(samples),
        "Each point of a curve belongs to one threshold. The true-positive rate is the recall, and the false-positive "
        "rate is the share of false alarms among the tiles without a crack",
        "ROC and precision-recall curves",
    )

    page.heading("Calibration")
    page.figure(
        draw_reliability(_calibrated(predictions, calibration)),
        "The tiles are sorted by P(crack) and divided into ten bins with equally many tiles. On the dotted line, "
        "P(crack) equals the share of cracks. The figure shows the answers after fine-tuning, once without calibration "
        f"and once with calibration (temperature {calibration.temperature:.3g})",
        "reliability diagram and histogram of P(crack)",
    )

    _show_threshold(page, predictions, calibration, config)
    show_triage(page, predictions, rows, calibration)
    alarms = false_alarms_in_words(rows)
    if alarms:
        page.heading("Sound concrete")
        page.text(alarms)
    _show_corruptions(page, rows, config, Path(predictions_folder) / VIEWS)

    page.heading("By source and surface, after fine-tuning")
    page.table(["split", "part", "tiles", *map(spoken, METRICS_BY_SLICE)], _slice_rows(rows))
    page.write(path)


def summary_markdown(rows: Measurements, calibration: Calibration) -> str:
    """Return the most important numbers, the temperature, the threshold and the review band as Markdown."""
    table = markdown_table(["metric", *COLUMN_TITLES], _metric_rows(rows, HEADLINE))
    note = footnote(row for row in rows.where(slice=WHOLE) if row.name in HEADLINE)
    point = (
        f"Temperature {calibration.temperature:.3g}, threshold {calibration.threshold:.3g}. Rule for the threshold: "
        f"{calibration.rule}."
    )
    paragraphs = [table, note, point, triage_in_words(calibration.band, rows)]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _metric_rows(rows: Measurements, names: Iterable[str]) -> list[list[str]]:
    table = []
    for name in names:
        numbers = [rows.find(name, split, condition=condition) for split, condition in COLUMNS]
        table.append([spoken(name), *map(shown_row, numbers)])
    return table


def _class_rows(samples: dict[str, Scored]) -> list[list[str]]:
    table = []
    for name, sample in samples.items():
        confusion = confusion_matrix(sample.labels, sample.p_crack)
        for label, row in classification_report(confusion).items():
            numbers = [with_interval(row[key]) for key in ("precision", "recall", "f1")]
            table.append([name, label, *numbers, f"{row['images']:.0f}"])
    return table


def _slice_rows(rows: Measurements) -> list[list[str]]:
    """Return one row for each split, source and surface. A slice that contains the whole split has no row."""
    table = []
    for row in rows.where(name="accuracy", condition="after"):
        whole = rows.find("accuracy", row.split)
        is_everything = row.slice != WHOLE and whole is not None and row.n == whole.n
        if row.split == "train" or row.slice.get("corruption") or is_everything:
            continue

        numbers = [rows.find(name, row.split, row.slice) for name in METRICS_BY_SLICE]
        table.append([row.split, str(row.slice), str(row.n), *map(shown_row, numbers)])
    return table


def _show_threshold(page: Page, predictions: Predictions, calibration: Calibration, config: EvaluateConfig) -> None:
    val = predictions.clean("val")
    labels = val["label"].to_numpy()
    groups = val["group_id"].to_numpy()
    p_crack = calibration.p_crack(val["logit_0"].to_numpy(), val["logit_1"].to_numpy())
    curve = operating_curve(labels, p_crack, groups, config.threshold, config.resamples, config.bootstrap_seed)

    (correct, alarms), (missed, hits) = confusion_matrix(labels, p_crack, calibration.threshold)

    page.heading("Operating threshold")
    text = ON_VALIDATION.format(missed=missed, cracks=missed + hits, alarms=alarms, others=correct + alarms)
    if math.isfinite(curve.chosen_low):
        text += (
            f" In 95 % of these draws, the rule chooses a threshold between {curve.chosen_low:.3g} and "
            f"{curve.chosen_high:.3g} (the grey area)."
        )
    page.text(text)
    page.figure(
        draw_operating_curve(curve, calibration.threshold),
        "Recall, false alarms and cost on the validation split, by threshold",
        "recall, false alarms and cost against the threshold",
    )


def _show_corruptions(page: Page, rows: Measurements, config: EvaluateConfig, views: Path) -> None:
    overall = rows.find("error_increase", "robustness")
    if overall is None:
        return

    page.heading("Corrupted tiles, after fine-tuning")
    seen = ", ".join(config.seen_corruptions).replace("_", " ") or "none"
    page.text(CORRUPTED.format(tiles=overall.n, seen=seen))
    if views.is_file():
        page.image(
            views.read_bytes(),
            "One tile with every corruption and severity",
            "one tile with every corruption and severity",
        )

    increases = rows.where(name="error_increase")
    page.figure(
        draw_corruptions({row.slice: row.value for row in increases if row.slice.get("severity")}),
        "Error increase by corruption family and severity, in percentage points",
        "heat map of the error increase",
    )

    means = [row for row in increases if not row.slice.get("severity")]
    table = []
    for row in sorted(means, key=lambda row: row.value):
        relative = rows.find("relative_error", "robustness", row.slice)
        ratio = f"{relative.value:.2f}" if relative and math.isfinite(relative.value) else "-"
        table.append([_family(row.slice), _seen(row.slice, config), f"{row.value:+.4f}", ratio])
    page.table(["mean of", "seen", "error increase", "error ratio"], table)


def _family(part: Slice) -> str:
    return MEANS.get(part) or str(part.get("corruption")).replace("_", " ")


def _seen(part: Slice, config: EvaluateConfig) -> str:
    if part in MEANS:
        return ""
    return "yes" if part.get("corruption") in config.seen_corruptions else "no"


def _samples(predictions: Predictions) -> dict[str, Scored]:
    """Return the network's own answers on the test and robustness splits, before and after fine-tuning.

    The result is a dict, such as "test, before" -> answers. A split without tiles is left out.
    """
    samples = {}
    for split, condition in COLUMNS:
        table = predictions.clean(split, condition)
        if len(table):
            samples[f"{split}, {condition}"] = Scored(table["label"].to_numpy(), table["p_crack"].to_numpy())
    return samples


def _calibrated(predictions: Predictions, calibration: Calibration) -> dict[str, Scored]:
    """Return the fine-tuned network's answers on the test and robustness splits, without and with calibration."""
    samples = {}
    for split in ("test", "robustness"):
        table = predictions.clean(split)
        if len(table):
            labels = table["label"].to_numpy()
            p_crack = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
            samples[split] = Scored(labels, table["p_crack"].to_numpy())
            samples[f"{split}, calibrated"] = Scored(labels, p_crack)
    return samples
