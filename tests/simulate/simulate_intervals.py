"""How often the 95 % intervals hold the truth, where the tiles of a photo resemble each other.

Photos differ in what share of their tiles is cracked, in how dark they are and in how hard they are, so that a photo of
70 tiles tells about as much as 3.5 independent ones (design effect 20). Asked: 93 to 97 %, of a usable model with 20
photos or more, of one near the ceiling with 40. With 20 photos its interval is too short, and no other that knows only
the photos seen can be long enough: where a tenth of all photos are hard, 20 hold none of them in one draw of eight.

    make simulate
"""

import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import expit

from components.shared.results.estimates import estimate_metrics
from components.shared.results.metrics import METRICS, compute_metrics

SHOWN = tuple(name for name in METRICS if name != "ece")  # its estimate is biased upwards
TILES, SPREAD, POPULATION = 70, 1.1, 20_000
DRAWS, RESAMPLES = 2000, 200
ASKED = (0.93, 0.97)
PHOTOS = (20, 40, 100)
SKILLS = {1.5: 20, 3.0: 40}  # of a network, and how many photos it takes to be judged


def draw_photos(count: int, skill: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, P(crack) and photo of all tiles of some photos."""
    share = rng.beta(1, 1, (count, 1)).clip(0.02, 0.98)
    labels = (rng.random((count, TILES)) < share).astype(int)
    darker, harder = SPREAD * rng.normal(size=(2, count, 1))
    scores = (2 * labels - 1) * (skill + harder) + darker + rng.normal(size=labels.shape)
    return labels.ravel(), expit(2 * scores).ravel(), np.repeat(np.arange(count), TILES)


def cover(photos: int, skill: float, truth: dict[str, float]) -> dict[str, float]:
    """Share of draws whose interval holds the truth, for each metric shown."""
    rng = np.random.default_rng([photos, int(10 * skill)])
    hits = dict.fromkeys(SHOWN, 0)
    for draw in range(DRAWS):
        found = estimate_metrics(*draw_photos(photos, skill, rng), resamples=RESAMPLES, seed=draw)
        for name in SHOWN:
            low, high = found[name].low, found[name].high
            hits[name] += low is not None and high is not None and low <= truth[name] <= high
    return {name: count / DRAWS for name, count in hits.items()}


def main() -> int:
    """Print the tables; return the exit status."""
    chance = 2.33 * np.sqrt(0.95 * 0.05 / DRAWS)  # by which 1 of 100 simulations strays further to one side
    outside = []
    with ProcessPoolExecutor() as pool:
        for skill, judged in SKILLS.items():
            labels, p_crack, _ = draw_photos(POPULATION, skill, np.random.default_rng(0))
            truth = compute_metrics(labels, p_crack)
            right = ((p_crack >= 0.5) == labels).reshape(POPULATION, TILES).mean(axis=1)
            effect = right.var() / (truth["accuracy"] * (1 - truth["accuracy"]) / TILES)
            table = Table(title=f"Coverage of 95 % intervals; true accuracy {truth['accuracy']:.3f}, AUROC "
                                f"{truth['auroc']:.3f}, design effect {effect:.1f}, {DRAWS} draws")  # fmt: skip
            table.add_column("photos")
            for name in SHOWN:
                table.add_column(name.replace("_", " "), justify="right")
            cells = [pool.submit(cover, count, skill, truth) for count in PHOTOS]
            for count, cell in zip(PHOTOS, cells, strict=True):
                found = cell.result()
                table.add_row(str(count), *(f"{share:.3f}" for share in found.values()))
                strayed = [share < ASKED[0] - chance or share > ASKED[1] + chance for share in found.values()]
                outside += strayed if count >= judged else []
            Console(width=140).print(table)
    print(
        f"asked: {ASKED[0]:.2f} to {ASKED[1]:.2f}, of the first table from 20 photos on, of the second from 40; chance "
        f"moves a cell by {chance:.3f}; {sum(outside)} of {len(outside)} cells are further outside"
    )
    return int(any(outside))


if __name__ == "__main__":
    sys.exit(main())
