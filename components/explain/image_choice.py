"""Which images are explained: a gallery chosen by rule for people, and a random sample for the measures."""

import numpy as np
import pandas as pd

from components.shared.results.calibration import Calibration

WRONG, NEAR, RIGHT = "confident wrong", "near the threshold", "confident right"


def decide(table: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """Add the deployed model's answer to prediction rows.

    Args:
        table: Prediction rows with `logit_0`, `logit_1` and `label`.
        calibration: Of the deployed model.

    Returns:
        The rows with `score` (calibrated P(crack)), `decision` (1: crack), `right` (bool) and `margin` (distance of the
        score from the threshold).
    """
    score = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
    decision = (score >= calibration.threshold).astype(int)
    margin = np.abs(score - calibration.threshold)
    return table.assign(score=score, decision=decision, right=decision == table["label"], margin=margin)


def choose_shown(decided: pd.DataFrame, count: int) -> pd.DataFrame:
    """Choose the gallery: a third of the images each confidently wrong, near the threshold and confidently right.

    Within a third, the images alternate between surfaces and classes, the most extreme of each first. If there are too
    few wrong or near images, right ones fill the gallery.

    Args:
        decided: Rows from `decide`, of one split.
        count: Number of images wanted.

    Returns:
        At most `count` of the rows, with `reason`: WRONG, NEAR or RIGHT.
    """
    third = count // 3
    # "Near" is the quarter closest to the threshold; a fixed distance would call all of a small split near.
    quarter = max(1, len(decided) // 4)
    closest = decided.nsmallest(quarter, "margin").index
    near_rows = decided.loc[closest].sort_values("margin")
    far_rows = decided.drop(closest).sort_values("margin", ascending=False)

    wrong = _alternate(far_rows[~far_rows["right"]], third)
    near = _alternate(near_rows, third)
    right = _alternate(far_rows[far_rows["right"]], count - len(wrong) - len(near))

    parts = [wrong.assign(reason=WRONG), near.assign(reason=NEAR), right.assign(reason=RIGHT)]
    return pd.concat(parts, ignore_index=True)


def _alternate(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """The first `count` rows when surfaces and classes take turns, each in its own order."""
    turn = rows.groupby(["surface", "label"]).cumcount()
    return rows.assign(turn=turn).sort_values("turn", kind="stable").drop(columns="turn").head(count)


def choose_measured(decided: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw cracked images at random, whether the answer was right or wrong: a sample by rule would bias the measures.

    The rows are in random order, so that the first few are a random sample too.
    """
    cracked = decided[decided["label"] == 1]
    chosen = np.random.default_rng([seed, 2]).permutation(len(cracked))[:count]
    return cracked.iloc[chosen].reset_index(drop=True)
