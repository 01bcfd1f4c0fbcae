"""Choose the tiles for which a person's answer is expected to be most useful.

There are five reasons to put a tile into the queue, and the queue takes the next tile of each reason in turn:

- People disagree about the tile.
- The tile's label is doubted. We find such labels by confident learning (Northcutt, Jiang & Chuang, JAIR 70, 2021).
  Each class has a threshold: the mean probability of the class over the tiles with this label. A label is doubted if
  the probability of the other class reaches the threshold of the other class. If both classes reach their thresholds,
  the label is doubted only if the other class is more probable. The tiles with the lowest probability of their own
  label are first.
- The tile was cut from an inspected photo, and shows a finding that needs review. The tiles with P(crack) nearest to
  the threshold are first.
- The candidates disagree. The tiles with the largest difference in P(crack) are first.
- P(crack) is near the threshold. The distance is measured in log odds, and averaged over the candidates.

The candidates were not trained on the tiles of the splits val, test and robustness. For training tiles, P(crack) comes
from `cross_validation.py`, and the threshold is 0.5.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from components.shared.data.corrections import Standing
from pipelines.review.cross_validation import cross_validated
from pipelines.review.run_artifacts import Candidate

DISPUTED, DOUBTED, FINDING, DISAGREE, NEAR = (
    "people disagree",
    "the label is doubted",
    "a finding needs review",
    "the candidates disagree",
    "near the threshold",
)
PHOTO_SHARE = 2  # a queue has at most PHOTO_SHARE * size / (number of photos) tiles of one photo
SMALLEST_PROBABILITY = 1e-6
NO_INSPECTION = pd.DataFrame({"tile": [], "photo": []}, dtype="str")


@dataclass(frozen=True)
class Answers:
    """The candidates' answers about N tiles.

    Attributes:
        tiles: Table (sample_id, group_id, split, label), N rows. It has only the tiles about which all candidates have
            an answer.
        p_crack: float64 (N, candidates), P(crack) of each tile by each candidate.
        threshold: float64 (N, candidates), the threshold for each P(crack).
    """

    tiles: pd.DataFrame
    p_crack: np.ndarray
    threshold: np.ndarray


def join_answers(candidates: list[Candidate]) -> Answers:
    """Join the candidates' answers. For training tiles, use cross-validated answers."""
    tables = []
    for number, candidate in enumerate(candidates):
        table = candidate.tiles.assign(threshold=candidate.threshold)
        trained = (table["split"] == "train").to_numpy()
        if trained.any():
            part = table[trained]
            table.loc[trained, "p_crack"] = cross_validated(
                candidate.embeddings[trained], part["label"].to_numpy(), part["group_id"]
            )
            table.loc[trained, "threshold"] = 0.5
        tables.append(table.set_index("sample_id")[["p_crack", "threshold"]].add_suffix(f"_{number}"))

    facts = candidates[0].tiles.set_index("sample_id")[["group_id", "split", "label"]]
    joined = facts.join(tables, how="inner").dropna().sort_index()
    numbers = range(len(candidates))
    return Answers(
        tiles=joined[["group_id", "split", "label"]].reset_index(),
        p_crack=joined[[f"p_crack_{number}" for number in numbers]].to_numpy(np.float64),
        threshold=joined[[f"threshold_{number}" for number in numbers]].to_numpy(np.float64),
    )


def rank(
    answers: Answers,
    standing: Standing,
    size: int,
    per_photo: int | None = None,
    inspected: pd.DataFrame = NO_INSPECTION,
) -> pd.DataFrame:
    """Choose the tiles that people should review, the most useful first.

    Tiles that people have answered are left out. But tiles about which people disagree can be chosen.

    Args:
        answers: What the candidates say.
        standing: People's answers so far.
        size: Largest number of tiles.
        per_photo: Largest number of tiles of one photo. None: 2 * size / (number of photos), but at least 2.
        inspected: Table (tile, photo) of tiles of inspected photos, the most useful first.

    Returns:
        Table (row, reason). `row` counts the rows of `answers.tiles`, and then continues with the rows of `inspected`.
        `reason` joins all reasons of the tile. "near the threshold" is among them only if it was the reason for the
        choice.
    """
    tiles = pd.concat([answers.tiles["sample_id"], inspected["tile"]], ignore_index=True)
    photos = [*answers.tiles["group_id"], *inspected["photo"]]
    findings = np.arange(len(answers.tiles), len(tiles))
    if per_photo is None:
        per_photo = max(2, PHOTO_SHARE * -(-size // max(1, len(set(photos)))))

    waiting = {
        DISPUTED: np.flatnonzero(tiles.isin(standing.disputed["tile"])),
        DOUBTED: _doubted(answers),
        FINDING: findings,
        DISAGREE: _disagreeing(answers),
        NEAR: _near(answers),
    }
    members = {reason: set(rows.tolist()) for reason, rows in waiting.items() if reason != NEAR}
    queues = {reason: iter(rows.tolist()) for reason, rows in waiting.items()}

    taken = set(np.flatnonzero(tiles.isin(standing.agreed["tile"])).tolist())
    of_photo: Counter[str] = Counter()
    chosen: list[tuple[int, str]] = []
    while queues and len(chosen) < size:
        for reason in list(queues):
            row = next((one for one in queues[reason] if one not in taken and of_photo[photos[one]] < per_photo), None)
            if row is None:
                del queues[reason]
            elif len(chosen) < size:
                taken.add(row)
                of_photo[photos[row]] += 1
                others = [name for name, rows in members.items() if name != reason and row in rows]
                chosen.append((row, "; ".join([reason, *others])))
    return pd.DataFrame(chosen, columns=["row", "reason"])


def _doubted(answers: Answers) -> np.ndarray:
    """Return the rows of tiles whose label is probably wrong, int64 (n,). The most certain label errors are first.

    Training tiles have their own class thresholds, because their P(crack) comes from another classifier.
    """
    p_crack = answers.p_crack.mean(axis=1)
    p_class = np.column_stack([1 - p_crack, p_crack])
    labels = answers.tiles["label"].to_numpy()
    trained = (answers.tiles["split"] == "train").to_numpy()

    doubted = []
    for rows in (np.flatnonzero(trained), np.flatnonzero(~trained)):
        doubted.append(rows[_confidently_wrong(p_class[rows], labels[rows])])
    joined = np.concatenate(doubted)
    return joined[np.argsort(p_class[joined, labels[joined]], kind="stable")]


def _confidently_wrong(p_class: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which labels are probably wrong, bool (n,).

    Args:
        p_class: float (n, 2), the probabilities of the two classes.
        labels: int (n,).
    """
    if len(np.unique(labels)) < 2:
        return np.zeros(len(labels), bool)

    class_threshold = np.array([p_class[labels == label, label].mean() for label in (0, 1)])
    rows = np.arange(len(labels))
    own, other = p_class[rows, labels], p_class[rows, 1 - labels]
    other_is_likely = other >= class_threshold[1 - labels]
    own_is_likely = own >= class_threshold[labels]
    return other_is_likely & (~own_is_likely | (other > own))


def _disagreeing(answers: Answers) -> np.ndarray:
    """Return the rows of tiles about which the candidates disagree, int64 (n,). The largest difference is first."""
    calls = answers.p_crack >= answers.threshold
    differ = np.flatnonzero(calls.any(axis=1) & ~calls.all(axis=1))
    spread = np.ptp(answers.p_crack[differ], axis=1)
    return differ[np.argsort(-spread, kind="stable")]


def _near(answers: Answers) -> np.ndarray:
    """Return all rows, int64 (N,). The rows with P(crack) nearest to the threshold are first."""
    distance = np.abs(log_odds(answers.p_crack) - log_odds(answers.threshold)).mean(axis=1)
    return np.argsort(distance, kind="stable")


def log_odds(probability: ArrayLike) -> NDArray[np.float64]:
    """Return the log odds of probabilities from 0 to 1. The result is finite even for 0 and 1."""
    clipped = np.clip(probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return logit(clipped)
