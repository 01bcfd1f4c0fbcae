"""Drift of each source and surface by itself: what moved on the walls may not have moved on the decks."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from components.drift.comparison import Shift, compare, even_out, why_not
from components.drift.config import DriftConfig
from components.shared.measurements import Measurement
from components.shared.profile import Profile

COLUMNS = ("source", "surface")


@dataclass(frozen=True)
class Slice:
    """One part of the current images against the same part of the reference.

    Attributes:
        name: `column=value`, such as "surface=wall".
        images: Current images in it.
        photos: Groups of them.
        why: Why it could not be compared; empty if it was.
        shifts: What the tests found, corrected for their number within the slice.
    """

    name: str
    images: int
    photos: int
    why: str = ""
    shifts: list[Shift] = field(default_factory=list)


def compare_slices(
    reference: tuple[Profile, pd.DataFrame], current: tuple[Profile, pd.DataFrame], config: DriftConfig, seed: int
) -> list[Slice]:
    """Compare every source and surface of the current images with the same one of the reference.

    A part that the reference does not hold, such as a held-out surface, is compared with the whole reference. A column
    with one value on both sides is left out: it is the whole.

    Args:
        reference: Its profile and, in the same order, a table with the columns source and surface.
        current: Likewise.
        config: Permutations and limits.
        seed: Of the samples and permutations.
    """
    found = []
    for column in COLUMNS:
        there, here = (table[column].to_numpy(str) for _, table in (reference, current))
        if len({*there, *here}) < 2:
            continue
        for value in np.unique(here):
            before = reference[0].rows(np.flatnonzero((there == value) | ~np.any(there == value)))
            after = current[0].rows(np.flatnonzero(here == value))
            found.append(_compare(f"{column}={value}", before, after, config, seed))
    return found


def slice_measurements(slices: list[Slice]) -> list[Measurement]:
    """`drift.share` of every slice: the share of its tests that drifted, NaN where it could not be compared."""
    return [
        Measurement(
            "drift.share",
            float(np.mean([shift.drifted for shift in part.shifts])) if part.shifts else float("nan"),
            split="robustness",
            slice=part.name,
            n=part.images,
            note=f"skipped: {part.why}" if part.why else "share of the slice's tests that found drift",
        )
        for part in slices
    ]


def _compare(name: str, before: Profile, after: Profile, config: DriftConfig, seed: int) -> Slice:
    size = (len(after.groups), len(set(after.groups)))
    why = why_not(before.groups, after.groups)
    if why:
        return Slice(name, *size, why)
    kept = even_out(before.groups, after.groups, seed, config.sample)
    return Slice(name, *size, "", compare(before.rows(kept[0]), after.rows(kept[1]), config, seed))
