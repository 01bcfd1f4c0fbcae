"""How far the label can be told without looking for a crack: what a network may learn instead."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

KNOWN = ("photo", "surface", "source")  # each scored by the labels of other pictures that share it
MEASURED = ("brightness", "contrast", "darkest", "file_size")  # each a score by itself, whichever way round
ALL = "all"


def audit_shortcuts(pictures: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Measure how well trivial predictors tell the label.

    A measured one (mean grey level, its standard deviation, median minus minimum, bytes of the file) is a score by
    itself, read in the direction that tells more. A known one (photo, surface, source) scores a picture by the share of
    cracks among those that share it in the other half of the data: the halves, by content hash, keep a picture's own
    label out of its score.

    Args:
        pictures: The data set's: columns sample_id, label, source, surface, photo, and those of `MEASURED`.

    Returns:
        By source, "all" first, then by predictor: AUROC from 0 to 1, where 0.5 tells nothing; None where it cannot be
        measured: one class only, or a property that no two pictures share or that all do.
    """
    table = pictures[["label", "source", "surface", *MEASURED]].assign(
        half=pictures["sample_id"].str[-1].isin(list("13579bdf")).astype(int),
        photo=pictures["source"] + ":" + pictures["photo"],
    )
    names = sorted(table["source"].unique())
    parts = {ALL: table} | ({name: table[table["source"] == name] for name in names} if len(names) > 1 else {})
    return {name: _audit(part) for name, part in parts.items()}


def _audit(table: pd.DataFrame) -> dict[str, float | None]:
    labels = table["label"].to_numpy()
    known = {name: auroc(labels, _shares(table, name)) for name in KNOWN}
    measured = {name: auroc(labels, table[name].to_numpy(np.float64)) for name in MEASURED}
    found = known | {name: None if value is None else max(value, 1 - value) for name, value in measured.items()}
    return {name: None if value is None else round(value, 4) for name, value in found.items()}


def _shares(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Of each picture, the share of cracks among those of the other half that have the same `name`.

    Where there are none it is the share in the whole other half. All the same, and so without a say, where no two share
    it or only one value is there.
    """
    scores = np.full(len(table), 0.5)
    if table[name].nunique() < 2 or not table[name].dropna().duplicated().any():
        return scores
    for half in (0, 1):
        here, there = (table["half"] == half).to_numpy(), table[table["half"] != half]
        shares = table.loc[here, name].map(there.groupby(name)["label"].mean())
        scores[here] = shares.fillna(there["label"].mean()).to_numpy(np.float64)
    return scores


def auroc(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float | None:
    """Area under the ROC curve: the chance that a crack scores above a tile without, ties counting half.

    Args:
        labels: int (N,), 0 or 1.
        scores: float (N,).

    Returns:
        From 0 to 1, None with one class only or where all scores are the same.

    Source: Hanley, McNeil, "The meaning and use of the area under a receiver operating characteristic curve", 1982.
    """
    positive = labels == 1
    cracks, others = int(positive.sum()), int((~positive).sum())
    if not cracks or not others or np.ptp(scores) == 0:
        return None
    ranks = pd.Series(scores).rank().to_numpy()
    return float((ranks[positive].sum() - cracks * (cracks + 1) / 2) / (cracks * others))
