"""The verdict on drift: which features moved, by how much, and whether chance could have done it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.drift.config import DriftConfig
from components.drift.permutation import energy, permuted_sides, step_down, wasserstein
from components.shared.data.drift_profile import Profile
from components.shared.results.measurements import Measurement

MIN_IMAGES = 30  # on each side; fewer say nothing of a distribution
MIN_GROUPS = 4  # on each side; with fewer no deal of the groups is extreme enough
TOGETHER, EMBEDDING = "features_together", "embedding"  # the two tests of the verdict
LEAST_SPREAD = 1e-3  # of a feature; less is taken for this much, as Evidently does


@dataclass(frozen=True)
class Shift:
    """What one test found.

    Attributes:
        name: "features_together", "embedding", or a feature.
        effect: In standard deviations, not negative: of the first two the energy distance of the groups' means, in
            those of all groups together; of a feature the Wasserstein distance, in those of the reference's images.
        chance: What 95 of 100 random deals of the groups stay below, in the unit of `effect`.
        change: Difference of the means, current less reference, in standard deviations; NaN for the first two.
        p: Corrected for the number of tests: two, or the features.
        drifted: p is small, and the effect not negligible; of a feature, only where one of the first two drifted.
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
    """Test whether there is drift, then what drifted, by permutation of groups.

    Two tests decide, of all features at once and of the embeddings: a change that spreads over many features is surer
    found by them than by the features one by one, corrected for their number. Only where they find drift are the
    features asked which of them moved, so that the chance of any false alarm stays at `alpha`.

    Args:
        reference: What the network was trained on.
        current: What it is asked about; shares no group with the reference.
        config: Permutations and limits.
        seed: Of the permutations.

    Returns:
        One shift for the features together, one for the embeddings, and one per feature, in column order.
    """
    groups = np.concatenate([reference.groups, current.groups])
    is_current = np.arange(len(groups)) >= len(reference.groups)
    sides = permuted_sides(groups, is_current, config.permutations, seed)
    features = pd.concat([reference.features, current.features])
    embeddings = np.concatenate([reference.embeddings, current.embeddings])
    joint = np.array([energy(values, groups, sides) for values in (features.to_numpy(), embeddings)])
    spread = reference.features.std(ddof=0).clip(lower=LEAST_SPREAD)
    each = np.array([wasserstein(features[name].to_numpy(), sides) / spread[name] for name in features])
    changes = (current.features.mean() - reference.features.mean()) / spread
    verdict = _shifts([TOGETHER, EMBEDDING], joint, [float("nan")] * 2, config)
    asked = any(shift.drifted for shift in verdict)
    return verdict + _shifts(list(features), each, changes.tolist(), config, asked)


def _shifts(
    names: list[str], effects: np.ndarray, changes: list[float], config: DriftConfig, asked: bool = True
) -> list[Shift]:
    """Shifts of tests (tests, deals) that are corrected together; none drifted where it was not asked."""
    return [
        Shift(
            name=name,
            effect=float(effect[0]),
            chance=float(np.quantile(effect[1:], 0.95)),
            change=change,
            p=float(p),
            drifted=bool(asked and p <= config.alpha and effect[0] >= config.min_effect),
        )
        for name, effect, change, p in zip(names, effects, changes, step_down(effects), strict=True)
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
