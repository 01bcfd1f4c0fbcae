"""Show the review band on the evaluation page, in words and in a figure."""

from matplotlib.figure import Figure

from components.evaluate.review_band import TriageCurve, cracked_photos, triage_curve
from components.shared.page import Page
from components.shared.results.calibration import Calibration, ReviewBand
from components.shared.results.measurements import Measurements
from components.shared.results.predictions import Predictions
from components.shared.results.triage import MISSED_SHARE, REVIEW_SHARE, triage_in_words

METHOD = (
    "The tiles that need review have a P(crack) in a range, the review band. The band ends at the operating threshold, "
    "because a person sees all tiles above it anyway. The lower end of the band was chosen on the validation photos by "
    "risk control (Learn then Test). A photo with more than {counted:,} cracked tiles counts like a photo with "
    "{counted:,}, so that one large photo does not decide the result. The weights of the network were also chosen on "
    "the validation photos. So check the limit of {missed:.3g} % on the test split: it was used neither for the "
    "band nor for the weights."
)


def show_triage(page: Page, predictions: Predictions, rows: Measurements, calibration: Calibration) -> None:
    """Append the section about triage."""
    band = calibration.band
    assert band
    page.heading("Triage: which tiles need a person")
    page.text(triage_in_words(band, rows))
    page.text(METHOD.format(counted=band.counted, missed=100 * band.missed))

    curves = {split: _curve(predictions, split, calibration, band) for split in ("val", "test")}
    page.figure(
        draw_triage(curves, rows, band),
        "Each point of a curve shows what happens with one possible lower end of the band. The dashed line is an upper "
        f"bound of the share of missed cracks, with {100 * band.confidence:.3g} % confidence. A lower end is allowed "
        "if its point on the dashed line is below the limit. Crosses mark the chosen band",
        "share of missed cracks against the share of tiles that need review",
    )


def _curve(predictions: Predictions, split: str, calibration: Calibration, band: ReviewBand) -> TriageCurve:
    table = predictions.clean(split)
    p_crack = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
    photos = cracked_photos(table, calibration, band.counted)
    return triage_curve(p_crack, photos, band.high, band.confidence)


def draw_triage(curves: dict[str, TriageCurve], rows: Measurements, band: ReviewBand) -> Figure:
    """Draw the share of missed cracks against the share of tiles that need review, and mark the chosen band.

    Args:
        curves: Name of a split -> its curve. The split "val" must be present.
        rows: The measurements. They contain the review share and the missed share of these splits.
        band: The chosen band.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for split, curve in curves.items():
        (line,) = axes.plot(curve.review, curve.missed, label=f"missed on {split}")
        review, missed = rows.find(REVIEW_SHARE, split), rows.find(MISSED_SHARE, split)
        if review and missed:
            axes.plot(review.value, missed.value, "x", markersize=9, markeredgewidth=2, color=line.get_color())

    val = curves["val"]
    axes.plot(
        val.review, val.at_most, color="0.3", linestyle="--", label=f"upper bound, {band.confidence:.3g} confidence"
    )
    axes.axhline(band.missed, color="black", linewidth=1, label=f"limit: {band.missed:.3g}")

    top = max(val.missed.max(), val.at_most.min(), band.missed)
    axes.set(xlabel="share of tiles that need review", ylabel="share of cracks missed", xlim=(-0.01, None))
    axes.set_ylim(-0.02 * top, 1.4 * top)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
