"""How often does the gate pass a challenger that is worse than the champion, equal to it, or better?

Both networks answer on the same photos. They share the photos' darkness and difficulty, and half of the noise. A photo
of 70 tiles carries about as much information as 3.5 independent tiles. The gate should refuse two kinds of challengers:
one that is worse by the margin, and an equal one if the gate asks for a better one. Such a challenger may pass in at
most 2.5 % of the draws, which is one side of a 95 % interval. We judge this for a usable model and for a nearly
perfect model. A nearly perfect model makes few errors. If there are only 20 photos, the gate may pass too many, so the
table shows this row without judging it.

    make simulate
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.special import expit, logit, ndtri
from scipy.stats import binom

from components.gate.champion_comparison import Deployed, compare
from components.gate.config import ChampionConfig
from components.gate.limits import judge
from components.shared.results.calibration import Calibration
from components.shared.results.measurements import Measurements
from components.shared.results.predictions import Predictions

TILES = 70
SPREAD = 1.1
DRAWS = 200
RESAMPLES = 200
LEVEL = 0.025


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        auroc: The champion's true AUROC.
        photos: Number of photos that both are compared on.
        difference: The challenger's true AUROC minus the champion's.
        require, margin: What the gate asks.
        most, least: The limits of the share of passes. A row without limits is shown but not judged.
    """

    auroc: float
    photos: int
    difference: float
    require: str
    margin: float
    most: float | None = None
    least: float | None = None


CASES = (
    Case(0.92, 60, -0.04, "not_worse", 0.02, most=LEVEL),
    Case(0.92, 60, -0.02, "not_worse", 0.02, most=LEVEL),
    Case(0.92, 60, -0.02, "better", 0.0, most=LEVEL),
    Case(0.92, 60, 0.0, "better", 0.0, most=LEVEL),
    Case(0.92, 60, 0.0, "not_worse", 0.02, least=0.8),
    Case(0.92, 60, 0.02, "not_worse", 0.02, least=0.95),
    Case(0.92, 60, 0.03, "better", 0.0, least=0.95),
    Case(0.996, 20, -0.01, "not_worse", 0.01),
    Case(0.996, 40, -0.01, "not_worse", 0.01, most=LEVEL),
    Case(0.996, 100, -0.01, "not_worse", 0.01, most=LEVEL),
    Case(0.996, 40, 0.0, "better", 0.0, most=LEVEL),
    Case(0.996, 40, 0.0, "not_worse", 0.01, least=0.8),
    Case(0.996, 40, 0.003, "not_worse", 0.01, least=0.8),
)


def draw(photos: int, skills: tuple[float, float], rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return labels (photos, TILES) and P(crack) of both networks."""
    share = rng.beta(1, 1, (photos, 1)).clip(0.05, 0.95)
    labels = (rng.random((photos, TILES)) < share).astype(int)

    darker, harder = SPREAD * rng.normal(size=(2, photos, 1))
    common = rng.normal(size=labels.shape)

    answers = []
    for skill in skills:
        noise = (common + rng.normal(size=labels.shape)) / np.sqrt(2)
        answers.append(expit(2 * ((2 * labels - 1) * (skill + harder) + darker + noise)))
    return labels, answers


def skill(auroc: float) -> float:
    """Return the skill of a network with this AUROC on all possible photos.

    The scores of a crack and another tile differ by a normal variable.
    """
    return float(ndtri(auroc) * np.sqrt(4 * SPREAD**2 + 2) / 2)


def passes(case: Case, seed: int) -> bool:
    """Return whether a drawn challenger passes the comparison."""
    skills = skill(case.auroc + case.difference), skill(case.auroc)
    labels, answers = draw(case.photos, skills, np.random.default_rng([seed, 3]))
    challenger = _deployed(labels, answers[0])
    champion = _deployed(labels, answers[1])

    config = ChampionConfig(require=case.require, margin=case.margin, resamples=RESAMPLES, bootstrap_seed=seed)
    found = compare(challenger, champion, "1", config)
    rows = judge(Measurements(found.measurements), found.limits)
    return rows[0].passed


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


def judged(case: Case, share: float) -> tuple[str, bool | None]:
    """Return the limit of a case in words, and whether the share of passes keeps it. None means: not judged."""
    if case.most is not None:
        allowed = binom.ppf(0.99, DRAWS, case.most) / DRAWS
        return f"at most {case.most:g} (by chance {allowed:.3f})", bool(share <= allowed)
    if case.least is not None:
        return f"at least {case.least:g}", bool(share >= case.least)
    return "shown only", None


def main() -> int:
    """Print the table; return the exit status."""
    table = Table(title=f"Challengers that pass, of {DRAWS} draws")
    for title in ("champion's AUROC", "photos", "true difference", "asked", "margin", "passed", "wanted", ""):
        table.add_column(title)

    failed = False
    with ProcessPoolExecutor() as pool:
        for case in CASES:
            outcomes = list(pool.map(passes, repeat(case), range(DRAWS), chunksize=10))
            share = float(np.mean(outcomes))
            wanted, good = judged(case, share)

            mark = {True: "✓", False: "✗", None: ""}[good]
            failed = failed or good is False
            table.add_row(
                f"{case.auroc:g}",
                str(case.photos),
                f"{case.difference:+.3f}",
                case.require.replace("_", " "),
                f"{case.margin:g}",
                f"{share:.3f}",
                wanted,
                mark,
            )

    Console(width=120).print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
