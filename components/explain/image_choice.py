"""Choose the images to explain: right and wrong answers for the gallery, and random images for the measures."""

import numpy as np
import pandas as pd

from components.shared.results.calibration import Calibration

WRONG, NEAR, RIGHT = "confidently wrong", "near the threshold", "confidently right"


def decide(table: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """Add the model's answers as in production: with the calibration and the threshold of the model.

    Args:
        table: Prediction rows with `logit_0`, `logit_1` and `label`.
        calibration: The model's calibration.

    Returns:
        The rows with four more columns: `score` (calibrated P(crack)), `decision` (1 for crack), `right` (bool: the
        decision equals the label) and `margin` (distance of the score from the threshold).
    """
    score = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
    decision = (score >= calibration.threshold).astype(int)
    margin = np.abs(score - calibration.threshold)
    return table.assign(score=score, decision=decision, right=decision == table["label"], margin=margin)


def choose_shown(decided: pd.DataFrame, count: int) -> pd.DataFrame:
    """Choose the images of the gallery.

    The gallery has three equal parts: confidently wrong answers, answers near the threshold, and confidently right
    answers. If there are not enough wrong answers, the gallery shows more right answers.

    Within each part, the images alternate between surfaces and classes. The most confident answers come first. In the
    part near the threshold, the answers nearest to the threshold come first.

    Args:
        decided: Rows from `decide`, of one split.
        count: Largest number of images to choose.

    Returns:
        The chosen rows, with one more column: `reason`, which is WRONG, NEAR or RIGHT.
    """
    third = count // 3
    # "Near the threshold" means the quarter of the images with the smallest margins. With a fixed distance instead, all
    # images of a small split could be near the threshold.
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
    """Reorder the rows so that surfaces and classes alternate, and return the first `count` rows.

    Rows with the same surface and class stay in their order.
    """
    turn = rows.groupby(["surface", "label"]).cumcount()
    return rows.assign(turn=turn).sort_values("turn", kind="stable").drop(columns="turn").head(count)


def choose_measured(decided: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Choose cracked images at random.

    The choice does not depend on the network's answers. Otherwise, the measures would be biased. The rows are in random
    order, so the first n rows are a random sample too.
    """
    cracked = decided[decided["label"] == 1]
    chosen = np.random.default_rng([seed, 2]).permutation(len(cracked))[:count]
    return cracked.iloc[chosen].reset_index(drop=True)
