"""Which recall and which share of false alarms does the operating threshold have on new photos?

A network answers on a few validation photos; temperature and threshold are chosen there. The same network then answers
on many new photos. We compare our rule for the threshold with another rule: the highest precision above the recall
floor. With a nearly perfect model, our rule must find at least 99 % of the cracks. The other rows are not judged.

    make simulate
"""

import sys
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import expit

from components.evaluate.calibration_fit import choose_threshold, fit_temperature
from components.evaluate.config import ThresholdConfig

TILES = 40
SPREAD = 1.1
CRACKED = 0.3
NEW_PHOTOS = 4000
DRAWS = 100
CONFIG = ThresholdConfig()
SKILLS = {"poor": 0.5, "usable": 1.5, "good": 3.0, "nearly perfect": 6.0}
VALIDATION_PHOTOS = (10, 40)
LEAST_RECALL = 0.99


@dataclass(frozen=True)
class Answers:
    """Labels and margins (logit of crack minus logit of no crack) of some tiles, each (n,)."""

    labels: np.ndarray
    margin: np.ndarray

    def rates(self, margin: float) -> np.ndarray:
        """Return recall and the false-alarm rate, if each tile with at least this margin is called a crack."""
        called = self.margin >= margin
        return np.array([called[self.labels == 1].mean(), called[self.labels == 0].mean()])


def draw(photos: int, skill: float, rng: np.random.Generator) -> Answers:
    """Draw photos that differ in their share of cracked tiles, in darkness and in difficulty."""
    share = rng.beta(2 * CRACKED, 2 * (1 - CRACKED), (photos, 1)).clip(0.02, 0.98)
    labels = (rng.random((photos, TILES)) < share).astype(int)
    darker, harder = SPREAD * rng.normal(size=(2, photos, 1))
    scores = (2 * labels - 1) * (skill + harder) + darker + rng.normal(size=labels.shape)
    return Answers(labels.ravel(), 2 * scores.ravel())


def best_precision(val: Answers) -> float:
    """Return the margin with the highest precision above the recall floor. Of equal ones, return the highest margin."""
    best, best_margin = -1.0, -np.inf
    for margin in np.unique(val.margin):
        called = val.margin >= margin
        hits = val.labels[called].sum()
        precision = hits / called.sum()
        if hits >= CONFIG.recall * val.labels.sum() and precision >= best:
            best, best_margin = precision, margin
    return best_margin


def lowest_cost(val: Answers) -> float:
    """Return the margin that evaluate chooses."""
    temperature = fit_temperature(val.labels, val.margin)
    threshold, _ = choose_threshold(val.labels, expit(val.margin / temperature), CONFIG)
    return temperature * float(np.log(threshold / (1 - threshold)))


def main() -> int:
    """Print the table; return the exit status."""
    table = Table(title=f"Mean over {DRAWS} draws, recall floor {CONFIG.recall:g}, on new photos")
    for title in ("model", "validation photos", "recall", "false alarms", "best precision: recall", "false alarms", ""):
        table.add_column(title)

    failed = False
    for name, skill in SKILLS.items():
        rng = np.random.default_rng(1)
        new = draw(NEW_PHOTOS, skill, rng)
        for photos in VALIDATION_PHOTOS:
            ours, other = np.zeros(2), np.zeros(2)
            for _ in range(DRAWS):
                val = draw(photos, skill, rng)
                ours += new.rates(lowest_cost(val)) / DRAWS
                other += new.rates(best_precision(val)) / DRAWS

            mark = ""
            if name == "nearly perfect":
                mark = "✓" if ours[0] >= LEAST_RECALL else "✗"
                failed = failed or ours[0] < LEAST_RECALL
            numbers = [f"{share:.3f}" for share in (*ours, *other)]
            table.add_row(name, str(photos), *numbers, mark)
    Console(width=120).print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
