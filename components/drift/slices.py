"""Test each slice for drift separately. For example, the images of walls may change, but not the images of decks."""

from dataclasses import dataclass, field

import numpy as np

from components.drift.config import DriftConfig
from components.drift.drift_tests import Shift, compare, even_out, why_not
from components.shared.data.drift_profile import Profile
from components.shared.results.measurements import Measurement
from components.shared.results.slices import Slice

# The images of one day may be in hundreds of folders. Only the largest slices are compared.
MAX_SLICES_PER_COLUMN = 20


@dataclass(frozen=True)
class SliceComparison:
    """One slice of the current images, compared with the reference.

    Attributes:
        slice: The slice, such as one surface.
        images: Number of current images in the slice.
        photos: Number of groups (photos) of these images.
        why: The reason why the slice could not be compared. It is empty if the slice was compared.
        shifts: The results of the tests, corrected for the number of tests and the number of slices. The list is empty
            if the slice was not compared.
    """

    slice: Slice
    images: int
    photos: int
    why: str = ""
    shifts: list[Shift] = field(default_factory=list)


@dataclass(frozen=True)
class _Pair:
    """The reference images and the current images of one slice, before we compare them."""

    slice: Slice
    reference: Profile
    current: Profile

    @property
    def why_not(self) -> str:
        return why_not(self.reference.groups, self.current.groups)


def compare_slices(reference: Profile, current: Profile, config: DriftConfig, seed: int) -> list[SliceComparison]:
    """Compare every slice of the current images, such as a surface, with the same slice of the reference.

    If the reference does not have the slice, we compare the slice with the whole reference. An example is the folder of
    a new camera. A slice is skipped if it contains all images of both sides. Each column is a kind of slice, such as
    surface or camera. In each column, we compare only the slices with the most images, at most MAX_SLICES_PER_COLUMN.
    The probability of any false alarm in all slices together is at most `alpha`.

    Args:
        reference: Training images of the network.
        current: Images to compare with the reference.
        config: Permutations and limits.
        seed: Seed of the samples and permutations.
    """
    pairs: list[_Pair] = []
    for column in current.slices:
        pairs += _pairs_of_column(column, reference, current)

    comparable = sum(not pair.why_not for pair in pairs)
    alpha_of_each = config.alpha / max(1, comparable)
    stricter = config.model_copy(update={"alpha": alpha_of_each})
    return [_compare(pair, stricter, seed) for pair in pairs]


def _pairs_of_column(column: str, reference: Profile, current: Profile) -> list[_Pair]:
    """Return a `_Pair` for each of the largest slices in a column, sorted by the names of the slices."""
    current_values = current.slices[column].to_numpy(str)
    reference_values = np.full(len(reference.groups), "")
    if column in reference.slices:
        reference_values = reference.slices[column].to_numpy(str)

    known = current_values[current_values != ""]
    values, counts = np.unique(known, return_counts=True)
    largest_first = np.argsort(-counts, kind="stable")
    chosen = np.sort(values[largest_first[:MAX_SLICES_PER_COLUMN]])

    pairs = []
    for value in chosen:
        in_current = current_values == value
        in_reference = reference_values == value
        if not in_reference.any():
            in_reference = np.ones(len(reference.groups), bool)
        if in_reference.all() and in_current.all():
            continue

        reference_part = reference.rows(np.flatnonzero(in_reference))
        current_part = current.rows(np.flatnonzero(in_current))
        pairs.append(_Pair(Slice.of(**{column: value}), reference_part, current_part))
    return pairs


def _compare(pair: _Pair, config: DriftConfig, seed: int) -> SliceComparison:
    images = len(pair.current.groups)
    photos = len(set(pair.current.groups))
    if pair.why_not:
        return SliceComparison(pair.slice, images, photos, pair.why_not)

    kept = even_out(pair.reference.groups, pair.current.groups, seed, config.sample)
    reference = pair.reference.rows(kept.reference)
    current = pair.current.rows(kept.current)
    return SliceComparison(pair.slice, images, photos, shifts=compare(reference, current, config, seed))


def slice_measurements(slices: list[SliceComparison]) -> list[Measurement]:
    """Return `drift.share` of every slice: the share of its tests that found drift. It is NaN for skipped slices."""
    rows = []
    for part in slices:
        share = float("nan")
        note = f"skipped: {part.why}"
        if part.shifts:
            share = float(np.mean([shift.drifted for shift in part.shifts]))
            note = "share of the slice's tests that found drift"
        rows.append(Measurement("drift.share", share, split="robustness", slice=part.slice, n=part.images, note=note))
    return rows
