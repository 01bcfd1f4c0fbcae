"""The verdict on drift: which features moved, by how much, and whether chance could have done it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.drift.config import DriftConfig
from components.drift.permutation import mahalanobis, mmd, permuted_sides, step_down, wasserstein
from components.shared.measurements import Measurement
from components.shared.profile import Profile

MIN_IMAGES = 30  # on each side; fewer say nothing of a distribution
MIN_GROUPS = 4  # on each side; with fewer no deal of the groups is extreme enough
EMBEDDING, TOGETHER = "embedding", "features_together"


@dataclass(frozen=True)
class Shift:
    """What one test found.

    Attributes:
        name: The feature, "features_together", or "embedding".
        effect: Wasserstein distance in standard deviations of the reference; for the features together the
            Mahalanobis distance of the groups' means; for embeddings the maximum mean discrepancy. Not negative.
        chance: What 95 of 100 random deals of the groups stay below, in the unit of `effect`.
        change: Difference of the means, current less reference, in standard deviations; NaN for the last two.
        p: Corrected for the number of tests.
        drifted: p is small, and the effect not negligible.
    """

    name: str
    effect: float
    chance: float
    change: float
    p: float
    drifted: bool


def why_not(reference: np.ndarray, current: np.ndarray) -> str:
    """Why the sides, given by the groups of their images, cannot be compared; empty if they can."""
    for name, groups in (("reference", reference), ("current", current)):
        if len(groups) < MIN_IMAGES:
            return f"the {name} side has {len(groups)} images, and {MIN_IMAGES} are needed"
        if len(set(groups)) < MIN_GROUPS:
            return f"the {name} side has {len(set(groups))} groups (photos), and {MIN_GROUPS} are needed"
    return ""


def even_out(reference: np.ndarray, current: np.ndarray, seed: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images so that the groups of both sides are of like size; else they could not be dealt to either side.

    Args:
        reference: (n,) group of each image.
        current: (m,) likewise.
        seed: Of the drawing.
        limit: Largest number of images on a side.

    Returns:
        Indices kept on each side, rising. No group gives more images than the median group of the other side has.
    """
    rng = np.random.default_rng([seed, 4])
    caps = [max(1, int(np.median(np.unique(other, return_counts=True)[1]))) for other in (current, reference)]
    kept = []
    for groups, cap in zip((reference, current), caps, strict=True):
        order = rng.permutation(len(groups))
        place_in_group = pd.Series(groups[order]).groupby(groups[order]).cumcount().to_numpy()
        kept.append(np.sort(order[place_in_group < cap][:limit]))
    return kept[0], kept[1]


def compare(reference: Profile, current: Profile, config: DriftConfig, seed: int) -> list[Shift]:
    """Test every feature and the embeddings, by permutation of groups, corrected together.

    Args:
        reference: What the network was trained on.
        current: What it is asked about; shares no group with the reference.
        config: Permutations and limits.
        seed: Of the permutations.

    Returns:
        One shift per feature, in column order, one for the features together, and one for the embeddings.
    """
    groups = np.concatenate([reference.groups, current.groups])
    is_current = np.arange(len(groups)) >= len(reference.groups)
    sides = permuted_sides(groups, is_current, config.permutations, seed)
    names, effects, changes = [*reference.features.columns, TOGETHER, EMBEDDING], [], []
    for name in reference.features.columns:
        before, after = reference.features[name].to_numpy(), current.features[name].to_numpy()
        spread = float(before.std()) or 1.0
        effects.append(wasserstein(np.concatenate([before, after]), sides) / spread)
        changes.append(float(after.mean() - before.mean()) / spread)
    features = pd.concat([reference.features, current.features]).to_numpy()
    effects.append(mahalanobis(features, groups, sides))
    effects.append(np.sqrt(np.maximum(mmd(np.concatenate([reference.embeddings, current.embeddings]), sides), 0)))
    changes += [float("nan")] * 2
    corrected = step_down(np.array(effects))
    return [
        Shift(
            name=name,
            effect=float(effect[0]),
            chance=float(np.quantile(effect[1:], 0.95)),
            change=change,
            p=float(p),
            drifted=bool(p <= config.alpha and (name == EMBEDDING or effect[0] >= config.min_effect)),
        )
        for name, effect, change, p in zip(names, effects, changes, corrected, strict=True)
    ]


def to_measurements(shifts: list[Shift], images: int) -> list[Measurement]:
    """`drift.FEATURE` (effect), `drift.share` and `drift.detected`; `images` is the number on the current side."""
    rows = [
        Measurement(
            f"drift.{shift.name}",
            shift.effect,
            split="robustness",
            n=images,
            note=f"{'drifted' if shift.drifted else 'no drift'}: corrected p = {shift.p:.3g}, {_size(shift)}",
        )
        for shift in shifts
    ]
    share = float(np.mean([shift.drifted for shift in shifts]))
    rows.append(
        Measurement("drift.share", share, split="robustness", n=images, note="share of the tests that found drift")
    )
    rows.append(
        Measurement("drift.detected", float(share > 0), split="robustness", n=images, note="1 if any test found drift")
    )
    return rows


def undefined(why: str, images: int) -> list[Measurement]:
    """The rows of a comparison that could not be made."""
    names = ("drift.share", "drift.detected")
    return [Measurement(name, float("nan"), split="robustness", n=images, note=f"skipped: {why}") for name in names]


def _size(shift: Shift) -> str:
    chance = f"chance alone reaches {shift.chance:.3g}"
    return chance if np.isnan(shift.change) else f"mean {shift.change:+.2f} standard deviations, {chance}"
