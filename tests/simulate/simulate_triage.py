"""Is the share of missed cracks below its level, and how many tiles need review?

A network answers on the validation photos, where the review band is chosen. The same network then answers on many new
photos, which show the true share of missed cracks. Photos differ in size, in their share of cracks, in darkness and in
difficulty. In the hardest setting, one photo in fifty is of a kind whose cracks the network does not see. In the last
setting, the true share of missed cracks is a little above the level, if the band's lower end is above 0.2.

The missed share may be above the level in at most 5 % of the draws.

    make simulate
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import expit
from scipy.stats import binom

from components.evaluate.calibration_fit import choose_threshold
from components.evaluate.config import ThresholdConfig, TriageConfig
from components.evaluate.review_band import CrackedPhotos, choose_band, cracks_that_count

DRAWS = 200
# A high recall floor would move the threshold below the lower ends that are wrong, and hide them.
THRESHOLD = ThresholdConfig(recall=0.5)
NEW_PHOTOS = 20_000
TRAINING_PHOTOS = 1_000
# Level -> numbers of validation photos. The higher level shows what a team with fewer photos can reach.
PHOTOS_BY_LEVEL = {0.02: (20, 50, 200, 1_000, 3_000), 0.1: (50, 200)}
LARGEST_PHOTO = 300
# With so many wrong draws, a true rate of 5 % would be this unlikely.
CHANCE = 0.01


@dataclass(frozen=True)
class Answers:
    """Labels, calibrated P(crack) and photo number of some tiles, each (n,)."""

    labels: np.ndarray
    p_crack: np.ndarray
    photo: np.ndarray


Draw = Callable[[int, np.random.Generator], Answers]
SettingOfLevel = Callable[[float], Draw]


def photos(skill: float, spread: float, unseen: float = 0.0, size_spread: float = 0.8) -> SettingOfLevel:
    """Return a function that draws photos.

    Args:
        skill: Distance between the network's scores of cracks and its scores of other tiles.
        spread: Standard deviation of the darkness and the difficulty of a photo. The noise of a tile is 1.
        unseen: Share of the photos whose cracks look like other tiles to the network.
        size_spread: Standard deviation of the logarithm of a photo's number of tiles.
    """

    def draw(count: int, rng: np.random.Generator) -> Answers:
        tiles = np.clip(rng.lognormal(3.3, size_spread, count), 4, LARGEST_PHOTO).astype(int)
        share = rng.beta(0.6, 1.4, count)
        photo = np.repeat(np.arange(count), tiles)
        labels = (rng.random(len(photo)) < share[photo]).astype(int)

        darker, harder = spread * rng.normal(size=(2, count))
        seen = np.where(rng.random(count) < unseen, -1, 1)
        scores = (2 * labels - 1) * (skill + harder[photo]) + darker[photo] + rng.normal(size=len(photo))
        scores[labels == 1] *= seen[photo][labels == 1]
        return Answers(labels, expit(2 * scores), photo)

    return lambda level: draw


def edge(level: float) -> Draw:
    """Return a function that draws photos with 20 cracks. In slightly too many photos, all cracks have P(crack) 0.2."""

    def draw(count: int, rng: np.random.Generator) -> Answers:
        bad = rng.random(count) < level * 1.0001
        p_crack = np.tile(np.repeat([0.9, 0.5], 20), (count, 1)) + rng.uniform(0, 0.05, (count, 40))
        p_crack[bad, :20] = 0.2
        return Answers(np.tile(np.repeat([1, 0], 20), count), p_crack.ravel(), np.repeat(np.arange(count), 40))

    return draw


SETTINGS: dict[str, SettingOfLevel] = {
    "good, photos alike": photos(3.0, 0.3),
    "good, strong clustering": photos(3.0, 1.5),
    "usable, strong clustering": photos(2.0, 1.2),
    "nearly perfect": photos(5.0, 0.5),
    "equal photos, strong clustering": photos(3.0, 1.5, size_spread=0.0),
    "cracks of 1 photo in 50 unseen": photos(3.0, 0.5, unseen=0.02),
    "just above the level": edge,
}


@dataclass(frozen=True)
class Result:
    """What 200 bands promise and keep. All fields are float64 (draws,).

    Attributes:
        missed: The true share of missed cracks.
        counted: The same share, but large photos count with a limited number of cracks.
        review: Share of the new tiles that need review.
        below: Share of the new tiles below the operating threshold: those that need review without a band.
        chosen: 1 if some tiles are answered without a look.
        needed: Number of photos with cracks that the band says are needed.
    """

    missed: np.ndarray
    counted: np.ndarray
    review: np.ndarray
    below: np.ndarray
    chosen: np.ndarray
    needed: np.ndarray


def repeat(draw: Draw, count: int, config: TriageConfig, seed: int) -> Result:
    """Choose the band on `count` photos again and again, and measure it on the same new photos."""
    rng = np.random.default_rng(seed)
    training = draw(TRAINING_PHOTOS, rng)
    counted = cracks_that_count(training.labels, training.photo)
    new = draw(NEW_PHOTOS, rng)
    cracked = CrackedPhotos.of(new.labels, new.p_crack, new.photo, counted)
    weight = np.minimum(1, counted / cracked.cracks)[cracked.photo]
    running = np.append(0, np.cumsum(weight)) / weight.sum()
    ranked = np.sort(new.p_crack)

    rows = []
    for _ in range(DRAWS):
        val = draw(count, rng)
        threshold, _ = choose_threshold(val.labels, val.p_crack, THRESHOLD)
        band = choose_band(CrackedPhotos.of(val.labels, val.p_crack, val.photo, counted), threshold, config)
        tiles = np.searchsorted(cracked.p_crack, band.low)
        low, high = np.searchsorted(ranked, (band.low, band.high)) / len(ranked)
        rows.append(
            (tiles / len(cracked.p_crack), running[tiles], high - low, high, band.is_certified, band.photos_needed)
        )
    return Result(*np.array(rows, float).T)


def main() -> int:
    """Print the table; return the exit status."""
    confidence = TriageConfig().confidence
    table = Table(title=f"{DRAWS} draws, {confidence:.0%} confidence")
    titles = ("setting", "level", "photos", "wrong", "of counted", "missed", "band", "review", "no band", "needed", "")
    for title in titles:
        table.add_column(title)

    # So many wrong draws of 200 that chance does not explain them.
    most = int(binom.isf(CHANCE, DRAWS, 1 - confidence))
    failed = False
    for level, counts in PHOTOS_BY_LEVEL.items():
        for (number, (name, setting)), count in product(enumerate(SETTINGS.items()), counts):
            found = repeat(setting(level), count, TriageConfig(missed=level), seed=1000 * number + count)
            wrong = (found.missed > level).sum()
            wrong_counted = (found.counted > level).sum()
            mark = "✓" if max(wrong, wrong_counted) <= most else "✗"
            failed = failed or mark == "✗"
            table.add_row(name, f"{level:.0%}", f"{count:,}", *_shown(found, wrong, wrong_counted), mark)
    Console(width=130).print(table)
    return int(failed)


def _shown(found: Result, wrong: int, wrong_counted: int) -> list[str]:
    return [
        f"{wrong / DRAWS:.1%}",
        f"{wrong_counted / DRAWS:.1%}",
        f"{found.missed.mean():.2%}",
        f"{found.chosen.mean():.0%}",
        f"{found.review.mean():.1%}",
        f"{found.below.mean():.1%}",
        f"{np.median(found.needed):.0f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
