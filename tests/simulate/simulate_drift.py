"""Does the drift verdict keep its level, and does it find what moved?

Photos are dealt to two sides at random. Without a shift, the share of verdicts that find drift may not exceed the
stated level by more than chance, however many photos, and however unequal; with a shift, every verdict must find it.
Exit status 1 where one of these fails.

20 photos a side are enough, but for synthetic photos with 20 % less light. These differ in light from photo to photo by
as much as that, and even a test that knew how best to tell the two apart could not find it every time: the dark photos
lie 1.2 standard deviations from the others along the best direction, where a t-test finds them in 96 of 100 draws of 20
a side. They are shown at 20 a side, and must be found at 50; so is the other synthetic surface, of which one draw in
fifty to a hundred is missed at 20.

    make simulate, or: python tests/bench/simulate_drift.py [FOLDER OF THE REAL DATA SETS]
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

SIZE, TILES, SEED = 64, 1600, 1
PHOTOS = (20, 20)  # of the reference, and of the current side
SIZES = ((5, 5), (10, 10), PHOTOS, (40, 40), (40, 10))
NULL_DRAWS, SHIFT_DRAWS = 200, 50
CONFIG = DriftConfig(permutations=499)
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
NETWORK = build_network(describe("resnet10t", "none", SIZE, SEED)).eval()


@dataclass(frozen=True)
class Pool:
    """Images, uint8 (H, W, 3), the photo of each, and the profile they make."""

    images: list[np.ndarray]
    groups: np.ndarray
    profile: Profile

    @classmethod
    def of(cls, images: list[np.ndarray], groups: list[str]) -> "Pool":
        """Profile images with a network of random weights: the test must hold for any."""
        tiles = np.stack([cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for image in images])
        with torch.inference_mode():
            parts = [
                NETWORK.logits_and_embeddings(part) for part in torch.from_numpy(tiles).permute(0, 3, 1, 2).split(128)
            ]
        p_crack = torch.cat([logits for logits, _ in parts]).softmax(1)[:, 1].numpy()
        embeddings = torch.cat([embedding for _, embedding in parts]).numpy()
        nothing, names = pd.DataFrame(index=range(len(images))), np.array(groups)
        return cls(images, names, make_profile(names, describe_images(images), p_crack, embeddings, nothing, ""))

    def changed(self, change: Callable[[np.ndarray], np.ndarray]) -> "Pool":
        """The same photos, every image changed."""
        return Pool.of([change(image) for image in self.images], self.groups.tolist())

    def part(self, wanted: np.ndarray) -> "Pool":
        """Some of the images, bool (n,)."""
        images = [image for image, keep in zip(self.images, wanted, strict=True) if keep]
        return Pool(images, self.groups[wanted], self.profile.rows(np.flatnonzero(wanted)))

    def thinned(self) -> "Pool":
        """The same photos with unequal numbers of images, from one to all."""
        rng = np.random.default_rng(SEED)
        share = {group: rng.random() for group in np.unique(self.groups)}
        _, first = np.unique(self.groups, return_index=True)
        wanted = rng.random(len(self.groups)) < np.array([share[group] for group in self.groups])
        wanted[first] = True
        return self.part(wanted)


def darker(image: np.ndarray) -> np.ndarray:
    """20 % less light."""
    return (0.8 * image).astype(np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    """Out of focus by a hundredth of the edge, at least one pixel."""
    return cv2.GaussianBlur(image, (0, 0), max(1.0, image.shape[0] / 100))


def main() -> int:
    """Print the table; return the exit status."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL
    drawn = list(draw_dataset(TILES, seed=SEED, size=SIZE))
    synthetic = Pool.of([tile.image for tile in drawn], [tile.group for tile in drawn])
    surfaces = np.array([tile.surface for tile in drawn])
    dark, uneven = (synthetic, synthetic.changed(darker)), synthetic.thinned()
    surface = (synthetic.part(surfaces == "deck"), synthetic.part(surfaces == "wall"))
    rows = [("no shift: synthetic", (synthetic, synthetic), photos, "level") for photos in SIZES]
    rows.append(("no shift: synthetic, unequal photos", (uneven, uneven), PHOTOS, "level"))
    rows.append(("synthetic, blurred", (synthetic, synthetic.changed(blurred)), PHOTOS, "always"))
    rows += [("synthetic, 20 % darker", dark, PHOTOS, "shown"), ("synthetic, 20 % darker", dark, (50, 50), "always")]
    rows += [("deck against wall", surface, PHOTOS, "shown"), ("deck against wall", surface, (50, 50), "always")]
    if root.is_dir():
        rows += _of_real_photos(root)
    table = Table(title=f"Drift found, at level {CONFIG.alpha:g}")
    for title in ("draw", "photos", "draws", "drift found", "retrain", "wanted", ""):
        table.add_column(title)
    outcomes = [_row(table, *row) for row in rows]
    Console(width=110).print(table)
    if not root.is_dir():
        print(f"the real data sets are not at {root}: drawn photos alone were tried")
    return 0 if all(outcomes) else 1


def _of_real_photos(root: Path) -> list[tuple]:
    uav = _folder(root / "uav75_tiles", lambda path: path.stem.split("_r")[0].rstrip("abcdefgh"))
    ccic = _folder(root / "ccic", lambda path: path.stem)
    nulls = [("uav75, by photo", uav, PHOTOS), ("uav75, by photo", uav, (30, 10)), ("ccic", ccic, PHOTOS)]
    rows: list[tuple] = [(f"no shift: {name}", (pool, pool), photos, "level") for name, pool, photos in nulls]
    shifts = {"20 % darker": uav.changed(darker), "blurred": uav.changed(blurred)}
    rows += [(f"uav75, {name}", (uav, changed), PHOTOS, "always") for name, changed in shifts.items()]
    return [*rows, ("ccic against uav75", (ccic, uav), PHOTOS, "always")]


def _folder(folder: Path, photo: Callable[[Path], str]) -> Pool:
    paths = sorted(path for name in folder.iterdir() if name.name != "masks" for path in name.glob("*.jpg"))
    chosen = np.random.default_rng(SEED).permutation(len(paths))[:TILES]
    paths = [paths[index] for index in np.sort(chosen)]
    return Pool.of([cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in paths], [photo(path) for path in paths])


def _found(before: Pool, after: Pool, photos: tuple[int, int], seed: int) -> float:
    """The share of the tests that find drift between some photos of one pool and others of the other."""
    rng = np.random.default_rng([seed, 9])
    first = rng.permutation(np.unique(before.groups))[: photos[0]]
    second = rng.permutation(np.setdiff1d(np.unique(after.groups), first))[: photos[1]]
    sides = [
        pool.profile.rows(np.flatnonzero(np.isin(pool.groups, names)))
        for pool, names in ((before, first), (after, second))
    ]
    kept = even_out(*(side.groups for side in sides), seed, CONFIG.sample)
    shifts = compare(*(side.rows(rows) for side, rows in zip(sides, kept, strict=True)), CONFIG, seed)
    return float(np.mean([shift.drifted for shift in shifts]))


def _row(table: Table, name: str, sides: tuple[Pool, Pool], photos: tuple[int, int], wanted: str) -> bool:
    """Try, and tell: `wanted` is "level" (no more than it), "always", or "shown" (whatever comes out)."""
    draws = NULL_DRAWS if wanted == "level" else SHIFT_DRAWS
    found = np.array([_found(*sides, photos, seed) for seed in range(draws)])
    share, retrain = float(np.mean(found > 0)), float(np.mean(found >= CONFIG.retrain_share))
    most = binom.ppf(0.99, draws, CONFIG.alpha) / draws
    good = {"level": share <= most, "always": share == 1, "shown": True}[wanted]
    spoken = {"level": f"at most {most:.3f}", "always": "every time", "shown": ""}[wanted]
    sizes = f"{photos[0]} against {photos[1]}"
    table.add_row(name, sizes, str(draws), f"{share:.3f}", f"{retrain:.3f}", spoken, "✓" if good else "✗")
    return good


if __name__ == "__main__":
    sys.exit(main())
