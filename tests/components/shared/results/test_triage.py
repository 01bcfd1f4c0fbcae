"""The sentence about the review band."""

from dataclasses import replace

from components.shared.results.calibration import ReviewBand
from components.shared.results.measurements import Measurement, Measurements
from components.shared.results.triage import triage_in_words

BAND = ReviewBand(low=0.0312, high=0.41, missed=0.02, confidence=0.95, photos=312, photos_needed=171, counted=9)


def measured(review: float, missed: float) -> Measurements:
    return Measurements(
        [Measurement("review_share", review), Measurement("missed_share", missed, low=0.001, high=0.02)]
    )


def test_a_band_is_explained_with_its_promise_and_with_what_the_test_split_shows():
    text = triage_in_words(BAND, measured(0.069, 0.008))
    assert text == (
        "A tile needs review if its P(crack) is at least 0.0312 and below 0.41 (6.9 % of the test tiles). Of all "
        "cracks in new photos of the same kind, at most 2 % are answered 'no crack' and get no review. This limit "
        "holds with 95 % confidence. It was computed from 312 validation photos with cracks. On the test split, "
        "0.8 % [0.1, 2] of the cracks are answered 'no crack' and get no review."
    )


def test_too_few_photos_are_said_with_the_number_that_is_needed():
    text = triage_in_words(replace(BAND, low=0.0, photos=19), measured(0.8, 0.0))
    assert text.startswith("The validation split has too few photos with cracks to trust the answer 'no crack'.")
    assert "So every tile with P(crack) below 0.41 needs review (80 % of the test tiles)." in text
    assert "if the validation split had at least 171 photos with cracks, but it has 19." in text


def test_a_model_that_needs_nobody_and_one_without_a_band_are_said_to_be_so():
    assert triage_in_words(replace(BAND, low=0.41), Measurements()).startswith("No tile needs review: every tile below")
    assert "calibrated without a review band" in triage_in_words(None, Measurements())
