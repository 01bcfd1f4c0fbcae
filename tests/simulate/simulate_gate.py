"""How often the gate lets a challenger pass that is worse than the champion, equal to it, or better, by a known amount.

Both networks answer on the same photos, whose darkness and difficulty they share, and half of whose noise; a photo of
70 tiles tells about as much as 3.5 independent ones. A challenger worse by the margin, or an equal one where a better
one is asked for, may pass in 2.5 % of the draws (one side of a 95 % interval): of a usable model, and of one near the
ceiling, which errs on few photos. There 20 photos may pass more, and are shown, not judged.

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

TILES, SPREAD = 70, 1.1
DRAWS, RESAMPLES, LEVEL = 200, 200, 0.025


@dataclass(frozen=True)
class Case:
    """The champion's true AUROC, the photos both are compared on, the challenger's AUROC less the champion's, what the
    gate asks, and the share of passes that is wanted: at most, or at least, or neither.
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
    """Labels (photos, TILES) and P(crack) of both networks."""
    labels = (rng.random((photos, TILES)) < rng.beta(1, 1, (photos, 1)).clip(0.05, 0.95)).astype(int)
    darker, harder = SPREAD * rng.normal(size=(2, photos, 1))
    common = rng.normal(size=labels.shape)
    answers = []
    for skill in skills:
        noise = (common + rng.normal(size=labels.shape)) / np.sqrt(2)
        answers.append(expit(2 * ((2 * labels - 1) * (skill + harder) + darker + noise)))
    return labels, answers


def skill(auroc: float) -> float:
    """Of a network with this AUROC on all photos there are: two scores of unlike labels differ by a normal variable."""
    return float(ndtri(auroc) * np.sqrt(4 * SPREAD**2 + 2) / 2)


def passes(case: Case, seed: int) -> bool:
    """Whether a drawn challenger passes the comparison."""
    skills = skill(case.auroc + case.difference), skill(case.auroc)
    labels, answers = draw(case.photos, skills, np.random.default_rng([seed, 3]))
    config = ChampionConfig(require=case.require, margin=case.margin, resamples=RESAMPLES, bootstrap_seed=seed)
    found = compare(*(_deployed(labels, answer) for answer in answers), "1", config)
    return all(row.passed for row in judge(Measurements(found.measurements), found.limits))


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
    table = Table(title=f"Challengers that pass, of {DRAWS} draws")
    for title in ("champion's AUROC", "photos", "true difference", "asked", "margin", "passed", "wanted", ""):
        table.add_column(title)
    good = True
    with ProcessPoolExecutor() as pool:
        shares = [float(np.mean(list(pool.map(passes, repeat(case), range(DRAWS), chunksize=10)))) for case in CASES]
    for case, share in zip(CASES, shares, strict=True):
        held, wanted = True, "shown only"
        if case.most is not None:
            allowed = binom.ppf(0.99, DRAWS, case.most) / DRAWS
            held, wanted = share <= allowed, f"at most {case.most:g} (by chance {allowed:.3f})"
        elif case.least is not None:
            held, wanted = share >= case.least, f"at least {case.least:g}"
        good = good and held
        asked = case.require.replace("_", " ")
        table.add_row(f"{case.auroc:g}", str(case.photos), f"{case.difference:+.3f}", asked, f"{case.margin:g}",
                      f"{share:.3f}", wanted, "" if wanted == "shown only" else "✓" if held else "✗")  # fmt: skip
    Console(width=120).print(table)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
