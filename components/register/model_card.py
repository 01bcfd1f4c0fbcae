"""The model card of a registered version: what it is for, what it was made of, how good it is, and where it is not.

After Mitchell et al., "Model Cards for Model Reporting" (2019). Every number comes from the winner's dossier.
"""

import math
from collections import Counter
from pathlib import Path

import pandas as pd

from components.shared.data.manifest import CLASSES, SPLITS, read_manifest, read_splits
from components.shared.network.checkpoint import read_info
from components.shared.results.calibration import read_calibration
from components.shared.results.dossier import CALIBRATION, measurements_of, read_verdict
from components.shared.results.measurements import Measurements, footnote, shown_row, spoken
from components.shared.results.slices import SEEN, UNSEEN, WHOLE

HEADLINE = ("accuracy", "recall_at_threshold", "precision_at_threshold", "specificity_at_threshold", "f1", "auroc")
USE = (
    "It tells whether a tile, a close-up of concrete of some decimetres, shows a crack, so that people look first "
    "where cracks are likely. It was not made for other materials, for whole photographs, for the width or the danger "
    "of a crack, or to release a structure without an engineer's look."
)
LIMITS = (
    "All figures are of photos like those below. On other surfaces, cameras, distances or light they are void until "
    "measured: `crack-pipeline drift-check` says whether new images are like these. Labels are taken as they were "
    "given, tile by tile, and are not free of errors. A tile without a crack says nothing of the tiles beside it."
)
ASKING = (
    "`crack-pipeline predict photos/ --out answers.csv` answers for files, `mlflow models serve --model-uri "
    "models:/{name}@champion` over HTTP. In: one string column `image`, base64 of a PNG, JPEG or other image file; a "
    "path is never opened. Out: `p_crack` (calibrated, 0 to 1), `label` (`crack` or `no_crack`) and the `threshold` "
    "between them. Resizing, normalisation, calibration and threshold are inside; it runs on a CPU and needs none of "
    "the project's code."
)
WORST = 3  # families of worse images named in the card


def model_card(
    model: str | Path, dossier: str | Path, manifest: str | Path, splits: str | Path, name: str, job: str
) -> str:
    """Return a version's card as Markdown.

    Args:
        model: Saved-model folder.
        dossier: The winner's dossier.
        manifest: manifest.parquet of the data set version.
        splits: Table (sample_id, split).
        name: The registered model's name.
        job: The pipeline job's id.
    """
    info, calibration = read_info(model), read_calibration(Path(dossier) / CALIBRATION)
    verdict, rows = read_verdict(dossier), measurements_of(dossier)
    data = read_manifest(manifest)
    table = data.table.merge(read_splits(splits).table, on="sample_id")
    weights = "random weights" if info.weights == "none" else f"`{info.weights}`, sha256 `{info.weights_sha256[:12]}`"
    parts = [
        f"# {name}: {verdict['candidate']}",
        "## What it is for",
        USE,
        "## How good it is",
        "On photos that it has not seen, with 95 % intervals by bootstrap over photos. *At threshold*: as it answers, "
        f"a crack from P(crack) ≥ {calibration.threshold:.3f} ({calibration.rule}).",
        _results(rows),
        footnote(row for row in rows.where(condition="after") if row.slice.get("corruption") is None),
        _sentences(rows),
        "## Where it is weaker",
        _slices(rows, table),
        LIMITS,
        "## How to ask it",
        ASKING.format(name=name),
        "## What it was made of",
        f"Data set `{info.dataset_digest[:12]}`: {len(table)} images of {table['group_id'].nunique()} photos or "
        "near-duplicate groups, none in two splits.",
        _composition(table),
        f"{info.architecture} at {info.input_size} px from {weights}, tuning {info.tuning}, seed {info.seed}; splits "
        f"`{info.split_digest[:12]}`; calibrated on the validation split, temperature {calibration.temperature:.3g}. "
        f"Pipeline job `{job}`; every parameter, curve and page is in the MLflow run that this version comes from.",
        "## Why it was let through",
        verdict["champion"]["text"],
        _gate(verdict["rows"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(rows: Measurements) -> str:
    lines = [
        [spoken(name), *(shown_row(rows.find(name, split)) for split in ("test", "robustness"))] for name in HEADLINE
    ]
    return _table(["", "test", "robustness"], lines)


def _sentences(rows: Measurements) -> str:
    ece = rows.find("ece_calibrated")
    said = [f"- Calibration error after temperature scaling, test: {shown_row(ece)}."]
    told = []
    for name, part in (("all", WHOLE), ("seen", SEEN), ("unseen", UNSEEN)):
        mean = rows.find("error_increase", "robustness", part)
        if mean:
            told.append(f"{name} {mean.value:+.3f}")
    if told:
        said.append(
            f"- Share of wrong answers added by worse images, mean over families: {', '.join(told)}.{_worst(rows)}"
        )
    for method, words in (("grad_cam", "Grad-CAM"), ("shap", "KernelSHAP")):
        row = rows.find(f"{method}.insertion_auc_over_edge_filter", "robustness")
        if row and math.isfinite(row.value):
            said.append(f"- {words} against a plain edge filter, insertion AUC: {shown_row(row)} (positive: better).")
    share = rows.find("drift.share", "robustness")
    if share and math.isfinite(share.value):
        said.append(f"- Drift tests that tell the robustness split from the training split: {share.value:.0%}.")
    return "\n".join(said)


def _worst(rows: Measurements) -> str:
    """Name the families of worse images that cost most."""
    families = {}
    for row in rows.where(name="error_increase"):
        family = row.slice.get("corruption")
        if family and row.slice.columns == ("corruption",) and row.slice not in (SEEN, UNSEEN):
            families[family.replace("_", " ")] = row.value
    worst = sorted(families, key=lambda name: -families[name])[:WORST]
    return f" Worst: {', '.join(f'{name} {families[name]:+.3f}' for name in worst)}." if worst else ""


def _slices(rows: Measurements, table: pd.DataFrame) -> str:
    """Sources and surfaces, where there are several, those with the most missed cracks first."""
    measured = [
        row
        for row in rows.where(name="recall_at_threshold", condition="after")
        if row.split in ("test", "robustness") and row.slice.columns in (("source",), ("surface",))
    ]
    columns = Counter(row.slice.columns[0] for row in measured if row.split == "test")
    weakest = sorted(measured, key=lambda row: math.inf if math.isnan(row.value) else row.value)
    lines = []
    for recall in weakest:
        ((column, value),) = recall.slice.pairs
        if columns[column] > 1:
            photos = table.loc[(table["split"] == recall.split) & (table[column] == value), "group_id"].nunique()
            specificity = rows.find("specificity_at_threshold", recall.split, recall.slice)
            shown = shown_row(recall), shown_row(specificity)
            lines.append([recall.split, value, str(recall.n), str(photos), *shown])
    headers = ["split", "part", "images", "photos", "recall at threshold", "specificity at threshold"]
    return _table(headers, lines) if lines else ""


def _composition(table: pd.DataFrame) -> str:
    counts = table.groupby(["source", "surface", "label"])["split"].value_counts().unstack(fill_value=0)
    lines = [
        [source, surface, CLASSES[label], *(str(int(row.get(split, 0))) for split in SPLITS)]
        for (source, surface, label), row in counts.iterrows()
    ]
    return _table(["source", "surface", "class", *SPLITS], lines)


def _gate(rows: list[dict]) -> str:
    return "\n".join(f"- {'✓' if row['passed'] else '✗'} {row['why']}" for row in rows)


def _table(headers: list[str], lines: list[list[str]]) -> str:
    body = [f"| {' | '.join(line)} |" for line in (headers, ["---"] * len(headers), *lines)]
    return "\n".join(body)
