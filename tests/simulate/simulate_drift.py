"""Does the drift verdict keep its level, and does it find what changed?

Photos are shuffled between two sides at random. Without a shift, the share of verdicts that find drift must not exceed
the stated level by more than chance. This must be true for few and many photos, and for unequal photos. With a shift,
every verdict must find drift. The exit status is 1 if one of these rules is broken.

20 photos a side are enough, with two exceptions that are shown at 20 a side and must be found at 50:

- Synthetic photos with 20 % less light. Synthetic photos differ in light by as much as that. Along the best direction,
  the dark photos are 1.2 standard deviations from the others. With 20 photos a side, even a t-test that knew this
  direction would find them in only 96 of 100 draws.
- The other synthetic surface. With 20 photos a side, one draw in fifty to a hundred does not find it.

    make simulate, or: python tests/simulate/simulate_drift.py [FOLDER OF THE REAL DATA SETS]
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import binom

from components.drift.config import DriftConfig
from components.drift.drift_tests import compare, even_out
from components.ingest.sources.synthetic import draw_dataset
from components.shared.data.drift_profile import Profile, make_profile
from components.shared.data.image_features import describe_images
from components.shared.network.network import build_network, describe

PIXELS = 64
TILES = 1600
SEED = 1

# Photos of the reference, and of the current side.
USUAL = (20, 20)
MANY = (50, 50)
SIZES = ((5, 5), (10, 10), USUAL, (40, 40), (40, 10))

DRAWS_WITHOUT_SHIFT = 200
DRAWS_WITH_SHIFT = 50
CONFIG = DriftConfig(permutations=499)
REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
NETWORK = build_network(describe("resnet10t", "none", PIXELS, SEED)).eval()


@dataclass(frozen=True)
class Pool:
    """Images, uint8 (H, W, 3), the photo of each image, and their drift profile."""

    images: list[np.ndarray]
    groups: np.ndarray
    profile: Profile

    @classmethod
    def of(cls, images: list[np.ndarray], groups: list[str]) -> "Pool":
        """Profile images with a network of random weights: the test must hold for any network."""
        tiles = [cv2.resize(image, (PIXELS, PIXELS), interpolation=cv2.INTER_AREA) for image in images]
        logits, embeddings = [], []
        with torch.inference_mode():
            for batch in torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).split(128):
                batch_logits, batch_embeddings = NETWORK.logits_and_embeddings(batch)
                logits.append(batch_logits)
                embeddings.append(batch_embeddings)

        p_crack = torch.cat(logits).softmax(1)[:, 1].numpy()
        no_slices = pd.DataFrame(index=range(len(images)))
        names = np.array(groups)
        features = describe_images(images)
        profile = make_profile(names, features, p_crack, torch.cat(embeddings).numpy(), no_slices, "")
        return cls(images, names, profile)

    def changed(self, change: Callable[[np.ndarray], np.ndarray]) -> "Pool":
        """Return the same photos with every image changed."""
        return Pool.of([change(image) for image in self.images], self.groups.tolist())

    def part(self, wanted: np.ndarray) -> "Pool":
        """Return some of the images, bool (n,)."""
        rows = np.flatnonzero(wanted)
        return Pool([self.images[row] for row in rows], self.groups[rows], self.profile.rows(rows))

    def thinned(self) -> "Pool":
        """Return the same photos with unequal numbers of images, from one to all."""
        rng = np.random.default_rng(SEED)
        names, first, codes = np.unique(self.groups, return_index=True, return_inverse=True)
        share = rng.random(len(names))
        wanted = rng.random(len(codes)) < share[codes]
        wanted[first] = True
        return self.part(wanted)


@dataclass(frozen=True)
class Case:
    """One row of the table: photos of `before` are compared with other photos of `after`.

    Attributes:
        name: What is compared.
        before, after: The pools that the two sides are drawn from.
        photos: Number of photos of each side.
        wanted: "level" (find drift no more often than the level), "always", or "shown" (not judged).
    """

    name: str
    before: Pool
    after: Pool
    photos: tuple[int, int]
    wanted: str


def darker(image: np.ndarray) -> np.ndarray:
    """Return the image with 20 % less light."""
    return (0.8 * image).astype(np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    """Return the image out of focus by a hundredth of its edge, at least one pixel."""
    return cv2.GaussianBlur(image, (0, 0), max(1.0, image.shape[0] / 100))


def synthetic_cases() -> list[Case]:
    """Return the cases of drawn photos."""
    drawn = pd.DataFrame(list(draw_dataset(TILES, seed=SEED, size=PIXELS)))
    pool = Pool.of(drawn["image"].tolist(), drawn["group"].tolist())
    surfaces = drawn["surface"].to_numpy()
    dark = pool.changed(darker)
    uneven = pool.thinned()
    deck = pool.part(surfaces == "deck")
    wall = pool.part(surfaces == "wall")

    cases = []
    for photos in SIZES:
        cases.append(Case("no shift: synthetic", pool, pool, photos, "level"))

    cases.append(Case("no shift: synthetic, unequal photos", uneven, uneven, USUAL, "level"))

    cases.append(Case("synthetic, blurred", pool, pool.changed(blurred), USUAL, "always"))
    cases.append(Case("synthetic, 20 % darker", pool, dark, USUAL, "shown"))
    cases.append(Case("synthetic, 20 % darker", pool, dark, MANY, "always"))

    cases.append(Case("deck against wall", deck, wall, USUAL, "shown"))
    cases.append(Case("deck against wall", deck, wall, MANY, "always"))
    return cases


def real_cases(root: Path) -> list[Case]:
    """Return the cases of the real data sets under a folder."""
    uav = _folder(root / "uav75_tiles", lambda path: path.stem.split("_r")[0].rstrip("abcdefgh"))
    ccic = _folder(root / "ccic", lambda path: path.stem)

    return [
        Case("no shift: uav75, by photo", uav, uav, USUAL, "level"),
        Case("no shift: uav75, by photo", uav, uav, (30, 10), "level"),
        Case("no shift: ccic", ccic, ccic, USUAL, "level"),
        Case("uav75, 20 % darker", uav, uav.changed(darker), USUAL, "always"),
        Case("uav75, blurred", uav, uav.changed(blurred), USUAL, "always"),
        Case("ccic against uav75", ccic, uav, USUAL, "always"),
    ]


def _folder(folder: Path, photo_of: Callable[[Path], str]) -> Pool:
    paths = []
    for label in sorted(folder.iterdir()):
        if label.name != "masks":
            paths += sorted(label.glob("*.jpg"))
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(paths))[:TILES])

    images, photos = [], []
    for index in chosen:
        images.append(cv2.imread(str(paths[index]), cv2.IMREAD_COLOR_RGB))
        photos.append(photo_of(paths[index]))
    return Pool.of(images, photos)


def share_drifted(case: Case, seed: int) -> float:
    """Return the share of the tests that find drift between some photos of `before` and others of `after`."""
    rng = np.random.default_rng([seed, 9])
    first = rng.permutation(np.unique(case.before.groups))[: case.photos[0]]
    second = rng.permutation(np.setdiff1d(np.unique(case.after.groups), first))[: case.photos[1]]
    reference = case.before.profile.rows(np.flatnonzero(np.isin(case.before.groups, first)))
    current = case.after.profile.rows(np.flatnonzero(np.isin(case.after.groups, second)))

    kept_reference, kept_current = even_out(reference.groups, current.groups, seed, CONFIG.sample)
    shifts = compare(reference.rows(kept_reference), current.rows(kept_current), CONFIG, seed)
    return float(np.mean([shift.drifted for shift in shifts]))


def add_row(table: Table, case: Case) -> bool:
    """Simulate a case and add its row; return whether the outcome is as wanted."""
    draws = DRAWS_WITHOUT_SHIFT if case.wanted == "level" else DRAWS_WITH_SHIFT
    shares = np.array([share_drifted(case, seed) for seed in range(draws)])
    found = float(np.mean(shares > 0))
    retrain = float(np.mean(shares >= CONFIG.retrain_share))

    wanted, good = "", True
    if case.wanted == "level":
        most = binom.ppf(0.99, draws, CONFIG.alpha) / draws
        wanted, good = f"at most {most:.3f}", found <= most
    elif case.wanted == "always":
        wanted, good = "every time", found == 1

    photos = f"{case.photos[0]} against {case.photos[1]}"
    mark = "✓" if good else "✗"
    table.add_row(case.name, photos, str(draws), f"{found:.3f}", f"{retrain:.3f}", wanted, mark)
    return bool(good)


def main() -> int:
    """Print the table; return the exit status."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL_DATA
    cases = synthetic_cases()
    if root.is_dir():
        cases += real_cases(root)

    table = Table(title=f"Drift found, at level {CONFIG.alpha:g}")
    for title in ("draw", "photos", "draws", "drift found", "retrain", "wanted", ""):
        table.add_column(title)

    all_good = True
    for case in cases:
        all_good = add_row(table, case) and all_good

    Console(width=110).print(table)
    if not root.is_dir():
        print(f"the real data sets are not at {root}: only drawn photos were used")
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
