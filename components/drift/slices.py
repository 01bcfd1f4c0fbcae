"""Drift of each slice by itself: what moved on the walls may not have moved on the decks."""

from dataclasses import dataclass, field

import numpy as np

from components.drift.config import DriftConfig
from components.drift.drift_tests import Shift, compare, even_out, why_not
from components.shared.data.drift_profile import Profile
from components.shared.results.measurements import Measurement
from components.shared.results.slices import Slice

LARGEST = 20  # slices of a column; a day's images may lie in hundreds of folders


@dataclass(frozen=True)
class SliceComparison:
    """One part of the current images against the same part of the reference.

    Attributes:
        slice: The part, such as one surface.
        images: Current images in it.
        photos: Groups of them.
        why: Why it could not be compared; empty if it was.
        shifts: What the tests found, corrected for their number and for that of the slices.
    """

    slice: Slice
    images: int
    photos: int
    why: str = ""
    shifts: list[Shift] = field(default_factory=list)


def compare_slices(reference: Profile, current: Profile, config: DriftConfig, seed: int) -> list[SliceComparison]:
    """Compare every slice of the current images, such as a surface, with the same one of the reference.

    A slice that the reference does not hold, such as a held-out surface or a camera's folder, is compared with the
    whole reference. One that is the whole on both sides is left out, and of a column all but its `LARGEST`. The chance
    of a single false alarm in all slices together is at most `alpha`.

    Args:
        reference: What the network was trained on.
        current: What it is asked about.
        config: Permutations and limits.
        seed: Of the samples and permutations.
    """
    pairs: list[tuple[Slice, Profile, Profile]] = []
    for column in current.slices:
        pairs += _pairs(column, reference, current)
    whys = [why_not(before.groups, after.groups) for _, before, after in pairs]
    shared = config.model_copy(update={"alpha": config.alpha / max(1, whys.count(""))})
    return [_compare(*pair, why, shared, seed) for pair, why in zip(pairs, whys, strict=True)]


def slice_measurements(slices: list[SliceComparison]) -> list[Measurement]:
    """`drift.share` of every slice: the share of its tests that drifted, NaN where it could not be compared."""
    return [
        Measurement(
            "drift.share",
            float(np.mean([shift.drifted for shift in part.shifts])) if part.shifts else float("nan"),
            split="robustness",
            slice=part.slice,
            n=part.images,
            note=f"skipped: {part.why}" if part.why else "share of the slice's tests that found drift",
        )
        for part in slices
    ]


def _pairs(column: str, reference: Profile, current: Profile) -> list[tuple[Slice, Profile, Profile]]:
    """The largest slices of a column, by name: what each is called, and its sides."""
    here = current.slices[column].to_numpy(str)
    there = reference.slices[column].to_numpy(str) if column in reference.slices else np.full(len(reference.groups), "")
    values, counts = np.unique(here[here != ""], return_counts=True)
    pairs = []
    for value in np.sort(values[np.argsort(-counts, kind="stable")[:LARGEST]]):
        before, after = (there == value) | ~np.any(there == value), here == value
        if not (before.all() and after.all()):
            sides = reference.rows(np.flatnonzero(before)), current.rows(np.flatnonzero(after))
            pairs.append((Slice.of(**{column: value}), *sides))
    return pairs


def _compare(part: Slice, before: Profile, after: Profile, why: str, config: DriftConfig, seed: int) -> SliceComparison:
    size = (len(after.groups), len(set(after.groups)))
    if why:
        return SliceComparison(part, *size, why)
    kept = even_out(before.groups, after.groups, seed, config.sample)
    return SliceComparison(part, *size, "", compare(before.rows(kept[0]), after.rows(kept[1]), config, seed))
