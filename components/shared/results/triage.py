"""Say in plain words which tiles a person must look at, and what the review band promises.

Pages and the model card show this text.
"""

import math

from components.shared.results.calibration import ReviewBand
from components.shared.results.measurements import Measurement, Measurements

REVIEW_SHARE = "review_share"
MISSED_SHARE = "missed_share"


def triage_in_words(band: ReviewBand | None, rows: Measurements) -> str:
    """Return what the review band promises, and what was measured on the test split, as Markdown.

    Args:
        band: The review band of the model; None if it has no band.
        rows: The measurements of the model.
    """
    if band is None:
        return "The model does not say which tiles need review, because it was calibrated without a review band."

    review = _percent(rows.find(REVIEW_SHARE))
    if not band.is_certified:
        return (
            "The validation split has too few photos with cracks to trust the answer 'no crack'. So every tile with "
            f"P(crack) below {band.high:.3g} needs review{_on_test(review)}. People could skip some of these "
            f"tiles if the validation split had at least {band.photos_needed:,} photos with cracks, but it has "
            f"{band.photos:,}. With enough photos, the pipeline chooses which tiles people skip. Then at most "
            f"{_number(band.missed)} % of all cracks are missed (with {_number(band.confidence)} % confidence)."
        )

    which = "No tile needs review: every tile below the threshold is answered 'no crack'"
    if band.low < band.high:
        which = f"A tile needs review if its P(crack) is at least {band.low:.3g} and below {band.high:.3g}"
    missed = _percent(rows.find(MISSED_SHARE))
    measured = ""
    if missed:
        measured = f" On the test split, {missed} of the cracks are answered 'no crack' and get no review."
    return (
        f"{which}{_on_test(review)}. Of all cracks in new photos of the same kind, at most {_number(band.missed)} % "
        f"are answered 'no crack' and get no review. This limit holds with {_number(band.confidence)} % confidence. It "
        f"was computed from {band.photos:,} validation photos with cracks.{measured}"
    )


def _on_test(review: str) -> str:
    return f" ({review} of the test tiles)" if review else ""


def _number(share: float) -> str:
    return f"{100 * share:.3g}"


def _percent(row: Measurement | None) -> str:
    """Return a share in percent with its interval, such as "6.9 % [4.1, 9.8]"; "" if it was not measured."""
    if row is None or math.isnan(row.value):
        return ""
    if row.low is None or row.high is None:
        return f"{_number(row.value)} %"
    return f"{_number(row.value)} % [{_number(row.low)}, {_number(row.high)}]"
