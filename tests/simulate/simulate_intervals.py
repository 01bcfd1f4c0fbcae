"""How often do the 95 % intervals cover the truth, if the tiles of a photo resemble each other?

Photos differ in their share of cracked tiles, in how dark they are and in how hard they are. A photo of 70 tiles then
carries about as much information as 3.5 independent tiles (design effect 20). The coverage should be 93 to 97 %. A
usable model should reach it with 20 photos or more, and a nearly perfect model with 40 photos or more. With 20 photos,
the interval of a nearly perfect model is too narrow. No method can avoid this, because it knows only these photos. If
one photo in ten is hard, 12 % of the samples of 20 photos contain no hard photo.

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

# The estimate of ece is biased upwards, so its interval cannot cover the truth.
SHOWN = [name for name in METRICS if name != "ece"]

TILES = 70
SPREAD = 1.1
POPULATION = 20_000
DRAWS = 2000
RESAMPLES = 200
WANTED = (0.93, 0.97)
PHOTOS = (20, 40, 100)

# A network's skill, and the number of photos from which its coverage is judged.
JUDGED_FROM = {1.5: 20, 3.0: 40}

# One simulation in a hundred misses the nominal 95 % by more than this on one side.
CHANCE = 2.33 * np.sqrt(0.95 * 0.05 / DRAWS)


def draw_photos(count: int, skill: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, P(crack) and photo of every tile of `count` photos, each (count * TILES,)."""
    share = rng.beta(1, 1, (count, 1)).clip(0.02, 0.98)
    labels = (rng.random((count, TILES)) < share).astype(int)
    darker, harder = SPREAD * rng.normal(size=(2, count, 1))
    scores = (2 * labels - 1) * (skill + harder) + darker + rng.normal(size=labels.shape)
    return labels.ravel(), expit(2 * scores).ravel(), np.repeat(np.arange(count), TILES)


def cover(photos: int, skill: float, truth: dict[str, float]) -> dict[str, float]:
    """Return the share of draws whose interval covers the truth, for each metric shown."""
    rng = np.random.default_rng([photos, int(10 * skill)])
    hits = dict.fromkeys(SHOWN, 0)
    for draw in range(DRAWS):
        labels, p_crack, photo = draw_photos(photos, skill, rng)

        found = estimate_metrics(labels, p_crack, photo, resamples=RESAMPLES, seed=draw)
        for name in SHOWN:
            low, high = found[name].low, found[name].high
            hits[name] += low is not None and high is not None and low <= truth[name] <= high

    return {name: count / DRAWS for name, count in hits.items()}


def simulate(pool: ProcessPoolExecutor, skill: float) -> tuple[Table, list[bool]]:
    """Return the table of one network, and for each judged cell whether it is outside the wanted range."""
    labels, p_crack, _ = draw_photos(POPULATION, skill, np.random.default_rng(0))
    truth = compute_metrics(labels, p_crack)
    right = ((p_crack >= 0.5) == labels).reshape(POPULATION, TILES).mean(axis=1)
    design_effect = right.var() / (truth["accuracy"] * (1 - truth["accuracy"]) / TILES)

    table = Table(
        title=f"Coverage of 95 % intervals; true accuracy {truth['accuracy']:.3f}, AUROC {truth['auroc']:.3f}, "
        f"design effect {design_effect:.1f}, {DRAWS} draws"
    )
    table.add_column("photos")
    for name in SHOWN:
        table.add_column(name.replace("_", " "), justify="right")

    outside = []
    cells = [pool.submit(cover, photos, skill, truth) for photos in PHOTOS]
    for photos, cell in zip(PHOTOS, cells, strict=True):
        coverage = cell.result()
        table.add_row(str(photos), *(f"{share:.3f}" for share in coverage.values()))
        if photos >= JUDGED_FROM[skill]:
            for share in coverage.values():
                outside.append(share < WANTED[0] - CHANCE or share > WANTED[1] + CHANCE)
    return table, outside


def main() -> int:
    """Print the tables; return the exit status."""
    outside = []
    with ProcessPoolExecutor() as pool:
        for skill in JUDGED_FROM:
            table, cells = simulate(pool, skill)
            Console(width=140).print(table)
            outside += cells

    print(
        f"wanted: {WANTED[0]:.2f} to {WANTED[1]:.2f}, in the first table from 20 photos on, in the second from 40; "
        f"chance moves a cell by {CHANCE:.3f}; {sum(outside)} of {len(outside)} cells are further outside"
    )
    return int(any(outside))


if __name__ == "__main__":
    sys.exit(main())
