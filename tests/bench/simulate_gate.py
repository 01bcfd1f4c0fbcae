"""How often the gate lets a challenger pass that is worse than the champion, equal to it, or better, by a known amount.

Both networks answer on the same photos, whose darkness and difficulty they share, and half of whose noise; the true
difference in AUROC is that of a population of 4,000 photos. A challenger worse by the margin, or an equal one where a
better one is asked for, may pass in 2.5 % of the draws (one side of a 95 % interval).

    make simulate
"""

import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binom

from components.gate.champion import Deployed, compare
from components.gate.config import ChampionConfig
from components.gate.verdict import judge
from components.shared.calibration import Calibration
from components.shared.metrics import compute_metrics
from components.shared.predictions import Predictions

PHOTOS, TILES, SPREAD, SKILL = 60, 40, 0.7, 1.5
DRAWS, RESAMPLES, LEVEL, POPULATION = 200, 500, 0.025, 4000


@dataclass(frozen=True)
class Case:
    """A true difference in AUROC, what the gate asks, and the share of passes that is wanted: at most, or at least."""

    difference: float
    require: str
    margin: float
    most: float | None = None
    least: float | None = None


CASES = (
    Case(-0.04, "not_worse", 0.02, most=LEVEL),
    Case(-0.02, "not_worse", 0.02, most=LEVEL),
    Case(-0.02, "better", 0.0, most=LEVEL),
    Case(0.0, "better", 0.0, most=LEVEL),
    Case(0.0, "not_worse", 0.02, least=0.8),
    Case(0.02, "not_worse", 0.02, least=0.95),
    Case(0.03, "better", 0.0, least=0.95),
)


def draw(photos: int, skills: tuple[float, float], rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels (photos, TILES) and P(crack) of both networks."""
    labels = (rng.random((photos, TILES)) < rng.beta(1, 1, (photos, 1)).clip(0.05, 0.95)).astype(int)
    darker, harder = SPREAD * rng.normal(size=(2, photos, 1))
    common = rng.normal(size=labels.shape)
    answers = []
    for skill in skills:
        noise = (common + rng.normal(size=labels.shape)) / np.sqrt(2)
        answers.append(expit(2 * ((2 * labels - 1) * (skill + harder) + darker + noise)))
    return labels, answers


def true_difference(skill: float) -> float:
    """AUROC of a challenger of this skill less the champion's, on the population."""
    labels, answers = draw(POPULATION, (skill, SKILL), np.random.default_rng(1))
    first, second = (compute_metrics(labels.ravel(), answer.ravel())["auroc"] for answer in answers)
    return first - second


def passes(case: Case, skill: float, seed: int) -> bool:
    """Whether a drawn challenger passes the comparison."""
    labels, answers = draw(PHOTOS, (skill, SKILL), np.random.default_rng([seed, 3]))
    config = ChampionConfig(require=case.require, margin=case.margin, resamples=RESAMPLES, bootstrap_seed=seed)
    found = compare(*(_deployed(labels, answer) for answer in answers), "1", config)
    return all(row.passed for row in judge(list(found.measurements), found.limits))


def _deployed(labels: np.ndarray, p_crack: np.ndarray) -> Deployed:
    table = pd.DataFrame(
        {
            "sample_id": np.arange(labels.size).astype(str),
            "split": "test",
            "group_id": np.repeat(np.arange(len(labels)), TILES).astype(str),
            "source": "drawn",
            "surface": "drawn",
            "label": labels.ravel(),
            "condition": "after",
            "corruption": "clean",
            "severity": 0,
            "logit_0": 0.0,
            "logit_1": logit(p_crack.ravel()),
        }
    )
    return Deployed(Predictions(table, np.empty((len(table), 0))), Calibration())


def main() -> int:
    """Print the table; return the exit status."""
    table = Table(title=f"Challengers that pass, of {DRAWS} draws of {PHOTOS} photos")
    for title in ("true difference", "asked", "margin", "passed", "wanted", ""):
        table.add_column(title)
    outcomes = []
    for case in CASES:
        skill = SKILL if not case.difference else brentq(lambda s, d=case.difference: true_difference(s) - d, 0.5, 4)
        share = float(np.mean([passes(case, skill, seed) for seed in range(DRAWS)]))
        if case.most is not None:
            allowed = binom.ppf(0.99, DRAWS, case.most) / DRAWS
            good, wanted = share <= allowed, f"at most {case.most:g} (by chance up to {allowed:.3f})"
        else:
            good, wanted = share >= (case.least or 0), f"at least {case.least:g}"
        outcomes.append(good)
        table.add_row(f"{case.difference:+.2f}", case.require.replace("_", " "), f"{case.margin:g}", f"{share:.3f}",
                      wanted, "✓" if good else "✗")  # fmt: skip
    Console(width=110).print(table)
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
