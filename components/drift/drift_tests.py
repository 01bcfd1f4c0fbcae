"""Find out which features drifted, how much they changed, and whether the change could be random.

The two sides of a comparison are the reference images and the current images.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from components.drift.config import DriftConfig
from components.drift.permutation import energy, permuted_sides, step_down, wasserstein
from components.shared.data.drift_profile import Profile
from components.shared.results.measurements import Measurement

# If a side has fewer images than this, the distribution of their features is not known well enough.
MIN_IMAGES_PER_SIDE = 30
# If a side has fewer groups than this, there are only a few ways to shuffle them, so a small p-value is impossible.
MIN_GROUPS_PER_SIDE = 4
# The two tests that decide whether there is drift.
TOGETHER = "features_together"
EMBEDDING = "embedding"
# The smallest standard deviation that we divide by. The library Evidently uses the same value.
MIN_STANDARD_DEVIATION = 1e-3
CHANCE_QUANTILE = 0.95


@dataclass(frozen=True)
class Shift:
    """The result of one test.

    Attributes:
        name: "features_together", "embedding", or a feature.
        effect: Size of the difference between the two sides, in standard deviations; 0 or more. For
            "features_together" and "embedding", it is the energy distance between the means of the groups. Its unit is
            the standard deviation of these means. For a feature, it is the Wasserstein distance. Its unit is the
            standard deviation of the reference images.
        chance: The limit by chance. In 95 of 100 random shuffles of the groups, the effect is smaller than this number.
            The limit has the unit of `effect`.
        change: Mean of the current images minus mean of the reference images, in standard deviations. It is NaN for
            "features_together" and "embedding".
        p: p-value, corrected for the number of tests in a set. One set has the tests "features_together" and
            "embedding". The other set has the tests of the single features.
        drifted: True if p is at most `alpha` and the effect is at least `min_effect`. A feature counts as drifted only
            if the test "features_together" or "embedding" found drift too.
    """

    name: str
    effect: float
    chance: float
    change: float
    p: float
    drifted: bool


class KeptImages(NamedTuple):
    """The images of each side that are compared, as indices: int64 arrays in rising order."""

    reference: np.ndarray
    current: np.ndarray


def why_not(reference: np.ndarray, current: np.ndarray) -> str:
    """Return the reason why reference and current images cannot be compared. Return "" if they can be compared.

    Args:
        reference: (n,) group id of each reference image.
        current: (m,) group id of each current image.
    """
    for name, groups in (("reference", reference), ("current", current)):
        images = len(groups)
        photos = len(set(groups))
        if images < MIN_IMAGES_PER_SIDE:
            return f"the number of {name} images is {images}, but it must be at least {MIN_IMAGES_PER_SIDE}"
        if photos < MIN_GROUPS_PER_SIDE:
            return f"the number of {name} photos is {photos}, but it must be at least {MIN_GROUPS_PER_SIDE}"
    return ""


def even_out(reference: np.ndarray, current: np.ndarray, seed: int, limit: int) -> KeptImages:
    """Choose images at random so that the groups of both sides have similar sizes.

    The tests shuffle groups between the two sides at random. They are fair only if both sides have groups of similar
    sizes. So we keep at most n images of each group, where n is the median size of the groups on the other side.

    Args:
        reference: (n,) group of each reference image.
        current: (m,) group of each current image.
        seed: Seed of the random choice.
        limit: Largest number of images to keep on a side.
    """
    rng = np.random.default_rng([seed, 4])
    kept = []
    for groups, other in ((reference, current), (current, reference)):
        sizes_of_other = np.unique(other, return_counts=True)[1]
        largest_group = max(1, int(np.median(sizes_of_other)))

        order = rng.permutation(len(groups))
        shuffled = pd.Series(groups[order])
        place_in_group = shuffled.groupby(groups[order]).cumcount().to_numpy()
        drawn = order[place_in_group < largest_group][:limit]
        kept.append(np.sort(drawn))
    return KeptImages(*kept)


def compare(reference: Profile, current: Profile, config: DriftConfig, seed: int) -> list[Shift]:
    """Test whether there is drift, then test which features drifted.

    Two tests decide whether there is drift: a test of all features together, and a test of the embeddings. These two
    tests find a change that is spread over many features. Tests of single features often miss such a change: there are
    many such tests, so their p-values must be corrected. A feature counts as drifted only if one of the two deciding
    tests finds drift. So the probability of any false alarm stays at `alpha`.

    Args:
        reference: Training images of the network.
        current: Images to compare with the reference. No group may be on both sides.
        config: Permutations and limits.
        seed: Seed of the permutations.

    Returns:
        The result of each test. First comes the test of all features together, and then the test of the embeddings. The
        tests of single features follow, in the order of the columns.
    """
    groups = np.concatenate([reference.groups, current.groups])
    is_current = np.arange(len(groups)) >= len(reference.groups)
    sides = permuted_sides(groups, is_current, config.permutations, seed)

    features = pd.concat([reference.features, current.features])
    embeddings = np.concatenate([reference.embeddings, current.embeddings])
    joint_effects = np.array([energy(features.to_numpy(), groups, sides), energy(embeddings, groups, sides)])
    unknown_change = float("nan")
    joint = _shifts([TOGETHER, EMBEDDING], joint_effects, [unknown_change, unknown_change], config)

    spread = reference.features.std(ddof=0).clip(lower=MIN_STANDARD_DEVIATION)
    changes = (current.features.mean() - reference.features.mean()) / spread
    effects = np.array([wasserstein(features[name].to_numpy(), sides) / spread[name] for name in features])
    any_drift = any(shift.drifted for shift in joint)
    single = _shifts(list(features), effects, changes.tolist(), config, any_drift)

    return joint + single


def _shifts(
    names: list[str], effects: np.ndarray, changes: list[float], config: DriftConfig, may_drift: bool = True
) -> list[Shift]:
    """Return the results of a set of tests, with p-values that are corrected for the number of tests in the set.

    `effects` is float (tests, 1 + shuffles). Its first column holds the measured effects. Each other column holds the
    effects in one random shuffle of the groups. If `may_drift` is false, `drifted` is false in all results.
    """
    p_values = step_down(effects)

    shifts = []
    for name, effect, change, p in zip(names, effects, changes, p_values, strict=True):
        is_significant = p <= config.alpha
        is_large = effect[0] >= config.min_effect
        shift = Shift(
            name=name,
            effect=float(effect[0]),
            chance=float(np.quantile(effect[1:], CHANCE_QUANTILE)),
            change=change,
            p=float(p),
            drifted=bool(may_drift and is_significant and is_large),
        )
        shifts.append(shift)
    return shifts


def to_measurements(shifts: list[Shift], images: int) -> list[Measurement]:
    """Return the measurements of a comparison.

    `drift.NAME` is the effect of a test, `drift.share` is the share of the tests that found drift, and `drift.detected`
    is 1 if at least one test found drift.

    Args:
        shifts: The result of each test, from `compare`.
        images: Number of current images.
    """
    rows = []
    for shift in shifts:
        verdict = "drifted" if shift.drifted else "no drift"
        note = f"{verdict}: corrected p = {shift.p:.3g}, {_size(shift)}"
        rows.append(Measurement(f"drift.{shift.name}", shift.effect, split="robustness", n=images, note=note))

    share = float(np.mean([shift.drifted for shift in shifts]))
    detected = float(share > 0)
    share_note = "share of the tests that found drift"
    detected_note = "1 if at least one test found drift, and 0 if none did"
    rows.append(Measurement("drift.share", share, split="robustness", n=images, note=share_note))
    rows.append(Measurement("drift.detected", detected, split="robustness", n=images, note=detected_note))
    return rows


def undefined(why: str, images: int) -> list[Measurement]:
    """Return the measurements of a skipped comparison. Each value is NaN, and each note gives the reason `why`."""
    note = f"skipped: {why}"
    share = Measurement("drift.share", float("nan"), split="robustness", n=images, note=note)
    return [share, replace(share, name="drift.detected")]


def _size(shift: Shift) -> str:
    chance = f"limit by chance {shift.chance:.3g}"
    if np.isnan(shift.change):
        return chance
    return f"mean {shift.change:+.2f} standard deviations, {chance}"
