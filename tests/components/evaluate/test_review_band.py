"""Compare the review band with a plain computation, and check what a larger level or more photos change."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit
from scipy.stats import binom

from components.evaluate.config import TriageConfig
from components.evaluate.review_band import (
    FRACTIONS,
    STARTS,
    CrackedPhotos,
    choose_band,
    cracks_that_count,
    fit_band,
    photos_needed,
    triage_curve,
)
from components.shared.results.calibration import Calibration

CONFIG = TriageConfig(missed=0.1)


def tiles(photos: int, size: int, seed: int = 0, skill: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, P(crack) and photo ids of photos that differ in size and difficulty."""
    rng = np.random.default_rng(seed)
    photo = np.repeat(np.arange(photos), rng.integers(1, size + 1, photos))
    labels = rng.integers(0, 2, len(photo))
    harder = rng.normal(size=photos)[photo]
    return labels, expit((2 * labels - 1) * (skill + harder) + rng.normal(size=len(photo))), photo


def cracked(photos: int, size: int, counted: int = 4, seed: int = 0) -> CrackedPhotos:
    return CrackedPhotos.of(*tiles(photos, size, seed), counted)


def plain_evidence(labels, p_crack, photo, low: float, missed: float, counted: int) -> float:
    """Compute the evidence photo by photo. Each of FRACTIONS is a player; the evidence is the wealth of all players."""
    wealth = dict(zip(FRACTIONS, STARTS, strict=True))
    for number in np.unique(photo):
        cracks = p_crack[(photo == number) & (labels == 1)]
        if len(cracks) == 0:
            continue
        weight = min(1, counted / len(cracks))
        loss = weight * ((cracks < low).sum() - missed * len(cracks))
        for fraction in wealth:
            wealth[fraction] *= 1 - fraction * loss / ((1 - missed) * counted)
    return sum(wealth.values())


def test_the_lower_end_is_the_highest_for_which_every_lower_one_has_enough_evidence() -> None:
    labels, p_crack, photo = tiles(150, 6, seed=3)
    photos = CrackedPhotos.of(labels, p_crack, photo, 4)
    band = choose_band(photos, 0.9, CONFIG)

    lows = np.sort(p_crack[labels == 1])
    enough = [plain_evidence(labels, p_crack, photo, low, 0.1, 4) >= 20 for low in lows]
    assert 0 < enough.index(False) < len(lows)
    assert band.low == lows[enough.index(False) - 1]
    assert band.high == 0.9
    assert (p_crack[labels == 1] < band.low).mean() < 0.1
    assert (band.photos, band.counted, band.is_certified) == (len(np.unique(photo[labels == 1])), 4, True)


def test_against_photos_that_just_break_the_promise_the_evidence_does_not_grow() -> None:
    """Try all draws of three photos. If their missed share is exactly the level, the mean of the evidence is 1."""
    kinds = [(1, 0), (1, 1), (2, 1), (5, 0), (9, 7), (9, 0)]  # cracks of a photo, and how many of them are missed
    chances = np.array([0.3, 0.1, 0.1, 0.2, 0.1, 0.2])
    weight = np.array([min(1, 5 / cracks) for cracks, _ in kinds])
    cracks, lost = np.array(kinds).T
    level = (chances * weight * lost).sum() / (chances * weight * cracks).sum()

    means = np.zeros(3)
    for drawn in product(range(len(kinds)), repeat=3):
        missed = np.repeat(np.arange(3), lost[list(drawn)])
        found = np.repeat(np.arange(3), cracks[list(drawn)] - lost[list(drawn)])
        p_crack = np.append(np.full(len(missed), 0.1), np.full(len(found), 0.9))
        photos = CrackedPhotos.of(np.ones(len(p_crack), int), p_crack, np.append(missed, found), 5)
        evidence = [photos.evidence(len(missed), level + shift) for shift in (-0.1, 0, 0.1)]
        means += chances[list(drawn)].prod() * np.array(evidence)
    assert means[1] == pytest.approx(1)
    assert means[0] < 1 < means[2]


def test_a_band_on_photos_just_above_the_level_is_wrong_in_at_most_5_percent_of_the_draws() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(150):
        bad = rng.random(200) < 0.1001
        p_crack = np.where(bad, 0.2, 0.8 + 0.1 * rng.random(200))
        photos = CrackedPhotos.of(np.ones(200, int), p_crack, np.arange(200), 1)
        wrong += choose_band(photos, 0.99, CONFIG).low > 0.2
    assert wrong <= binom.isf(0.01, 150, 0.05)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    photos=st.integers(1, 120),
    levels=st.tuples(st.floats(0.01, 0.9), st.floats(0.01, 0.9)),
    confidences=st.tuples(st.floats(0.5, 0.999), st.floats(0.5, 0.999)),
)
def test_a_stricter_promise_never_lets_more_tiles_pass(seed, photos, levels, confidences) -> None:
    found = cracked(photos, 8, seed=seed)
    strict = choose_band(found, 0.7, TriageConfig(missed=min(levels), confidence=max(confidences)))
    loose = choose_band(found, 0.7, TriageConfig(missed=max(levels), confidence=min(confidences)))
    assert 0 <= strict.low <= loose.low <= 0.7
    assert strict.photos_needed >= loose.photos_needed
    assert loose.low == 0 or (found.p_crack < loose.low).mean() < max(levels)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), photos=st.integers(1, 60))
def test_neither_the_order_nor_the_names_of_the_photos_nor_tiles_without_cracks_matter(seed, photos) -> None:
    labels, p_crack, photo = tiles(photos, 8, seed)
    expected = choose_band(CrackedPhotos.of(labels, p_crack, photo, 4), 0.7, CONFIG)

    order = np.random.default_rng(seed).permutation(len(labels))
    labels = np.append(labels[order], 0)
    p_crack = np.append(p_crack[order], 0.001)
    names = np.append((100 - photo[order]).astype(str), "new")
    assert choose_band(CrackedPhotos.of(labels, p_crack, names, 4), 0.7, CONFIG) == expected


@pytest.mark.parametrize("missed", [0.02, 0.1, 0.5])
def test_so_many_photos_are_needed_as_the_band_says_and_one_fewer_is_too_few(missed: float) -> None:
    config = TriageConfig(missed=missed)
    needed = choose_band(cracked(1, 1), 0.9, config).photos_needed

    def certified(count: int) -> bool:
        ones = CrackedPhotos.of(np.ones(2 * count, int), np.full(2 * count, 0.8), np.arange(2 * count) // 2, 2)
        assert photos_needed(ones, config) == needed_of_two
        return choose_band(ones, 0.9, config).is_certified

    two = CrackedPhotos.of(np.ones(2, int), np.full(2, 0.8), np.zeros(2), 2)
    needed_of_two = photos_needed(two, config)
    assert certified(needed_of_two)
    assert not certified(needed_of_two - 1)
    # No method without assumptions needs fewer: with so few photos, this share of bad photos stays unseen too often.
    assert needed_of_two >= np.log(0.05) / np.log(1 - missed)
    assert needed >= needed_of_two


def test_without_cracks_or_with_one_photo_every_tile_below_the_threshold_needs_review() -> None:
    none = CrackedPhotos.of(np.zeros(5, int), np.full(5, 0.3), np.arange(5), 3)
    one = CrackedPhotos.of(np.ones(5, int), np.full(5, 0.3), np.zeros(5), 3)
    for photos, count in ((none, 0), (one, 1)):
        band = choose_band(photos, 0.4, TriageConfig())
        assert (band.low, band.high, band.photos, band.photos_needed) == (0, 0.4, count, 171)
        assert not band.is_certified
        assert band.contains(np.array([0.0, 0.399, 0.4, 1.0])).tolist() == [True, True, False, False]


def test_tiles_with_equal_p_crack_are_never_divided() -> None:
    labels = np.tile([0, 1], 500)
    photos = CrackedPhotos.of(labels, np.full(1000, 0.3), np.arange(1000) // 2, 1)
    band = choose_band(photos, 0.2, TriageConfig())
    assert (band.low, band.high) == (0.2, 0.2)  # no tile needs review: all are called a crack
    band = choose_band(photos, 0.9, TriageConfig())
    assert band.low == 0.3
    assert band.contains(np.full(3, 0.3)).all()


@pytest.mark.parametrize("wrong", [{"missed": 0.0}, {"missed": 1.0}, {"confidence": 1.0}, {"confidence": 0.4}])
def test_a_level_or_confidence_that_means_nothing_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError, match="Input should be"):
        TriageConfig(**wrong)


def test_a_huge_training_photo_does_not_decide_how_much_a_photo_counts() -> None:
    labels = np.ones(1090, int)
    assert cracks_that_count(labels, np.append(np.arange(1000), np.full(90, -1))) == 1
    assert cracks_that_count(labels, np.append(np.arange(500) // 5, np.full(590, -1))) > 100
    assert cracks_that_count(np.zeros(3, int), np.arange(3)) == 1


def test_the_curve_falls_to_no_review_and_shows_what_the_photos_do_not_exclude() -> None:
    labels, p_crack, photo = tiles(300, 6, seed=3)
    photos = CrackedPhotos.of(labels, p_crack, photo, 4)
    curve = triage_curve(p_crack, photos, 0.9, 0.95)
    assert curve.review[0] == pytest.approx((p_crack < 0.9).mean())
    assert (curve.review[-1], curve.missed[0]) == (0, 0)
    assert (np.diff(curve.review) <= 0).all()
    assert (np.diff(curve.missed) >= 0).all()
    assert (np.diff(curve.at_most) >= 0).all()
    assert (curve.missed < curve.at_most).all()

    middle = 30
    low = curve.low[middle]
    assert curve.missed[middle] == pytest.approx((p_crack[labels == 1] < low).mean())
    assert plain_evidence(labels, p_crack, photo, low, curve.at_most[middle], 4) >= 20
    assert plain_evidence(labels, p_crack, photo, low, curve.at_most[middle] - 0.001, 4) < 20

    band = choose_band(photos, 0.9, CONFIG)
    allowed = curve.at_most <= 0.1
    assert curve.low[allowed].max() <= band.low <= curve.low[~allowed].min()


def test_the_band_does_not_depend_on_the_temperature() -> None:
    labels, p_crack, photo = tiles(300, 6, seed=3)
    margin = np.log(p_crack / (1 - p_crack))
    table = pd.DataFrame({"label": labels, "group_id": photo, "logit_0": 0.0, "logit_1": margin})
    bands = [fit_band(table, table, Calibration(temperature, 0.9), CONFIG) for temperature in (1.0, 3.0)]
    log_odds = [np.log(band.low / (1 - band.low)) for band in bands]
    assert log_odds[0] == pytest.approx(3 * log_odds[1])
