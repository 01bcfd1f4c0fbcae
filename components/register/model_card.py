"""Write the model card of a registered model version: its use, quality, weak points, data and training.

The card follows Mitchell et al., "Model Cards for Model Reporting" (2019). Every measured number is from the winner's
dossier.
"""

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from components.shared.data.manifest import CLASSES, SPLITS, read_manifest, read_splits
from components.shared.markdown import markdown_table
from components.shared.network.model_info import ModelInfo
from components.shared.network.saved_network import read_info
from components.shared.results.calibration import read_calibration
from components.shared.results.dossier import CALIBRATION, measurements_of, read_verdict
from components.shared.results.false_alarms import false_alarms_in_words
from components.shared.results.group_kind import interval_note
from components.shared.results.measurements import Measurements, footnote, shown_row, spoken
from components.shared.results.slices import SEEN, UNSEEN, WHOLE
from components.shared.results.triage import MISSED_SHARE, REVIEW_SHARE, triage_in_words

HEADLINE = ("accuracy", "recall_at_threshold", "precision_at_threshold", "specificity_at_threshold", "f1", "auroc")
USE = (
    "The model decides whether a tile shows a crack. A tile is a close-up of a few decimetres of concrete. Use the "
    "answers to choose where people look first. The model is not meant for other materials, for photos of whole "
    "structures, or to measure the width or the danger of a crack. It does not replace an engineer's inspection."
)
LIMITS = (
    "All numbers hold for photos like those in the table of sources and surfaces. For other surfaces, cameras, "
    "distances or light, measure the model again. `crack-pipeline drift-check` reports whether new images are "
    "like the training images. Some labels may be wrong. If a tile has no crack, "
    "the tiles next to it may still have one."
)
USAGE = (
    "`crack-pipeline predict tiles/ --out answers.csv` classifies tiles. `crack-pipeline serve --model "
    "models:/{name}@champion` answers over HTTP. Both commands first check that the files of the version are still the "
    "registered ones. `mlflow models serve` does not check this.\n\n"
    "The input has one string column, `image`: a PNG, JPEG or other image file in base64. The model never opens a "
    "path. The output has these columns:\n\n"
    "- `p_crack`: the calibrated probability of a crack, from 0 to 1.\n"
    "- `label`: `crack` or `no_crack`.\n"
    "- `threshold`: the smallest `p_crack` that gets the label `crack`.\n"
    "- `novelty`: if it is above 1, the image is unlike the training images, and the answer means little.\n"
    "- `needs_review`: whether a person must look at the tile.\n\n"
    "The model itself resizes, normalises and calibrates. It runs on a CPU and does not need the code of the project."
)
WORST_FAMILIES = 3  # number of corruption families that the card names
METHODS = {"grad_cam": "Grad-CAM", "shap": "KernelSHAP"}


def model_card(
    model: str | Path, dossier: str | Path, manifest: str | Path, splits: str | Path, name: str, job: str
) -> str:
    """Return a model version's card as Markdown.

    Args:
        model: Saved-model folder.
        dossier: The winner's dossier.
        manifest: manifest.parquet of the data set version.
        splits: Table (sample_id, split).
        name: The registered model's name.
        job: The pipeline job's id.
    """
    info = read_info(model)
    calibration = read_calibration(Path(dossier) / CALIBRATION)
    verdict = read_verdict(dossier)
    rows = measurements_of(dossier)
    table = read_manifest(manifest).table.merge(read_splits(splits).table, on="sample_id")

    uncorrupted = [row for row in rows.where(condition="after") if row.slice.get("corruption") is None]

    parts = [
        f"# {name}: {verdict['candidate']}",
        "## What it is for",
        USE,
        "## How good it is",
        "The numbers were measured on photos that the model was not trained on. Brackets are 95 % intervals by "
        "bootstrap over photos. *At threshold* means that a tile is called a crack if the calibrated P(crack) is at "
        f"least {calibration.threshold:.3f}. The rule for this threshold is: {calibration.rule}. Accuracy and F1 use "
        "P(crack) ≥ 0.5 without calibration.",
        _results(rows),
        footnote(uncorrupted),
        interval_note(table.loc[table["split"] == "test", "group_id"]),
        _sentences(rows),
        false_alarms_in_words(rows),
        "## Which tiles need a person",
        triage_in_words(calibration.band, rows),
        _triage_table(rows),
        "## Where it is weaker",
        _slices(rows, table),
        LIMITS,
        "## How to use it",
        USAGE.format(name=name),
        "## What it was trained on",
        f"Data set version `{info.dataset_digest[:12]}` with {len(table)} tiles in {table['group_id'].nunique()} "
        "groups. A group contains all tiles of one photo, near duplicates and overlapping tiles. No group is in two "
        "splits.",
        _composition(table),
        f"The network is {info.architecture} at {info.input_size} px. {_tile_size(info)} Tiles are "
        f"{info.preprocessing}. It started from "
        f"{info.initial_weights} and was trained with tuning {info.tuning} and seed {info.seed}. The splits are "
        f"`{info.split_digest[:12]}`. The answers were calibrated on the validation split with temperature "
        f"{calibration.temperature:.3g}. Pipeline job: `{job}`. The MLflow run of this model version has all "
        "parameters, curves and pages.",
        "## Why it passed the gate",
        verdict["champion"]["text"],
        _gate(verdict["rows"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tile_size(info: ModelInfo) -> str:
    """Return a sentence about the size of the training tiles."""
    if not info.tile_pixels:
        return "The size of its training tiles was not recorded."
    on_concrete = "" if info.tile_mm is None else f", which is {info.tile_mm:g} mm of concrete"
    return f"The median side of a training tile was {info.tile_pixels} px{on_concrete}."


def _results(rows: Measurements) -> str:
    return markdown_table(["", "test", "robustness"], _held_out(rows, HEADLINE))


def _held_out(rows: Measurements, names: Iterable[str]) -> list[list[str]]:
    """Return one line for each measurement: its name, and its values on the test and robustness splits."""
    lines = []
    for name in names:
        test = shown_row(rows.find(name, "test"))
        robustness = shown_row(rows.find(name, "robustness"))
        lines.append([spoken(name), test, robustness])
    return lines


def _triage_table(rows: Measurements) -> str:
    """Return a table of two shares: the tiles that need review, and the cracked tiles below the review band.

    The table has a column for each split. The result is "" if the shares were not measured.
    """
    if rows.find(REVIEW_SHARE) is None:
        return ""
    return markdown_table(["", "test", "robustness"], _held_out(rows, (REVIEW_SHARE, MISSED_SHARE)))


def _sentences(rows: Measurements) -> str:
    """Return the results on calibration, corruptions, explanations and drift, as a list in Markdown."""
    ece = rows.find("ece_calibrated")
    sentences = [f"- Calibration error on test after temperature scaling: {shown_row(ece)}."]

    increases = []
    for name, part in (("all", WHOLE), ("seen", SEEN), ("unseen", UNSEEN)):
        mean = rows.find("error_increase", "robustness", part)
        if mean:
            increases.append(f"{name} {mean.value:+.3f}")
    if increases:
        sentences.append(
            "- Increase of the share of wrong answers on tiles with blur, noise and other corruptions (mean over "
            f"kinds of corruption): {', '.join(increases)}. Seen means that the training used a weaker form of the "
            f"corruption.{_worst(rows)}"
        )

    for method, spoken_method in METHODS.items():
        row = rows.find(f"{method}.insertion_auc_over_edge_filter", "robustness")
        if row and math.isfinite(row.value):
            sentences.append(
                f"- Insertion AUC of {spoken_method} minus insertion AUC of an edge filter: {shown_row(row)}. If the "
                "whole interval is above 0, the answer depends more on the parts that the explanation marks than on "
                "the edges in the tile."
            )

    share = rows.find("drift.share", "robustness")
    if share and math.isfinite(share.value):
        sentences.append(
            f"- Share of drift tests that find a difference between the robustness and the training split: "
            f"{share.value:.0%}."
        )
    return "\n".join(sentences)


def _worst(rows: Measurements) -> str:
    """Return a sentence that names the corruption families with the largest increase of wrong answers."""
    increase = {}
    for row in rows.where(name="error_increase"):
        family = row.slice.get("corruption")
        if family and row.slice.columns == ("corruption",) and row.slice not in (SEEN, UNSEEN):
            increase[family.replace("_", " ")] = row.value
    if not increase:
        return ""

    worst = sorted(increase, key=lambda family: -increase[family])[:WORST_FAMILIES]
    named = [f"{family} {increase[family]:+.3f}" for family in worst]
    return f" Largest increases: {', '.join(named)}."


def _slices(rows: Measurements, table: pd.DataFrame) -> str:
    """Return a table of the results on each source and each surface, the lowest recall first.

    The result is "" if there is only one source and only one surface.
    """
    measured = []
    for row in rows.where(name="recall_at_threshold", condition="after"):
        if row.split in ("test", "robustness") and row.slice.columns in (("source",), ("surface",)):
            measured.append(row)
    measured.sort(key=lambda row: math.inf if math.isnan(row.value) else row.value)
    values = Counter(row.slice.columns[0] for row in measured if row.split == "test")

    lines = []
    for recall in measured:
        ((column, value),) = recall.slice.pairs
        if values[column] < 2:
            continue
        tiles = table[(table["split"] == recall.split) & (table[column] == value)]
        specificity = rows.find("specificity_at_threshold", recall.split, recall.slice)
        lines.append(
            [
                recall.split,
                value,
                str(recall.n),
                str(tiles["group_id"].nunique()),
                shown_row(recall),
                shown_row(specificity),
            ]
        )
    if not lines:
        return ""
    return markdown_table(
        ["split", "part", "tiles", "groups", "recall at threshold", "specificity at threshold"], lines
    )


def _composition(table: pd.DataFrame) -> str:
    """Return a table of the number of tiles by source, surface, class and split."""
    counts = table.groupby(["source", "surface", "label"])["split"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=list(SPLITS), fill_value=0)
    lines = []
    for (source, surface, label), row in counts.iterrows():
        lines.append([source, surface, CLASSES[label], *map(str, row)])
    return markdown_table(["source", "surface", "class", *SPLITS], lines)


def _gate(rows: list[dict]) -> str:
    lines = []
    for row in rows:
        mark = "✓" if row["passed"] else "✗"
        lines.append(f"- {mark} {row['why']}")
    return "\n".join(lines)
