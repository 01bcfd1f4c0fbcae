"""Write the drift page of a candidate and Evidently's report. Also write the parts that all drift pages share."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from components.drift.config import DriftConfig
from components.drift.drift_tests import Shift
from components.drift.error_by_drift import Bin
from components.drift.slices import SliceComparison
from components.shared.data.drift_profile import Profile
from components.shared.page import Badge, Page
from components.shared.results.measurements import spoken

METHOD = (
    "Drift means that the current images differ from the reference images. The two sets of images are the two sides of "
    "the comparison. "
    "Two tests decide whether there is drift. One test compares all features together. The other test compares the "
    "network's embeddings, which are the numbers that the network computes from an image just before its answer.\n\n"
    "Both tests first compute the mean of each photo. Then they partly remove the correlations between the features "
    "(or between the numbers of the embedding). Then they measure the energy distance. It is large if photos of "
    "different sides differ more than photos of the same side. A single feature counts as drifted only if one of these "
    "two tests finds drift.\n\n"
    "- *Effect* is the size of the difference. For the two tests above (all features, embeddings), its unit is the "
    "standard deviation of the photos' means. For a single feature, the effect is the Wasserstein distance: how far "
    "the values of one side must move on average to equal the values of the other side. Its unit is the standard "
    "deviation of the reference images.\n"
    "- *Limit by chance* shows how large the effect can be without drift. We shuffle the groups (photos) between the "
    "two sides at random, many times. In 95 of 100 shuffles, the effect is smaller than this limit. We shuffle groups, "
    "not images, because tiles of one photo resemble each other.\n"
    "- *Mean change* is the mean of the current images minus the mean of the reference images, in standard deviations "
    "of the reference images.\n"
    "- *p* is the share of the random shuffles with an effect at least as large as the measured effect. It is "
    "corrected for the number of tests (method of Westfall and Young). The two tests above are corrected together, and "
    "all single features are corrected together. If there is no drift, the probability of any false alarm in this "
    "table is at most {alpha:.0%}.\n\n"
    "A test finds drift if p ≤ {alpha:g} and the effect is at least {min_effect:g}."
)
SLICES = (
    "A slice is a part of the images, such as one surface or one camera. Each slice is compared with the same slice of "
    "the reference. If the reference does not have a slice, the slice is compared with the whole reference. The tests "
    "are the same as for all images, but the limit for p is divided by the number of slices that were compared. So if "
    "there is no drift, the probability of any false alarm in this table is also at most {alpha:.0%}.\n\n"
    "A small slice can drift although all images together do not, because it is only a small part of all images. A "
    "slice that the reference does not have can differ from the reference in every check. An example is a camera that "
    "takes photos of only one kind of concrete. For such a slice, look for changes from check to check."
)
ERRORS = (
    "The current images are sorted by their distance from the reference and divided into bins of equal size. For each "
    "image feature, we count how many standard deviations an image is away from the mean of the training images. The "
    "distance is the root mean square of these numbers. A typical training image has a distance of about 1. The error "
    "rate is the share of wrong answers. If it rises with the distance, drift lowers the accuracy."
)
DISTRIBUTIONS = (
    "Distributions of the features. The feature with the smallest p is first. Warmth compares red with blue. Entropy "
    "measures how varied the grey values are. Edge density is the share of pixels at an edge, as a square root. "
    "Roughness is the mean slope of the grey values, compared with the brightness. P(crack) and confidence are the "
    "network's answer and how certain this answer is. Most features are natural logarithms: an increase of 0.1 means "
    "about 10 % more."
)
HISTOGRAM_COLUMNS = 4
HISTOGRAM_BINS = 25
Sides = dict[str, Profile]  # the title of each side -> its images; the reference is the first side


def write_page(
    path: str | Path,
    config: DriftConfig,
    shifts: list[Shift],
    sides: Sides,
    slices: list[SliceComparison],
    errors: list[Bin],
) -> None:
    """Write the drift page of a candidate: result, tests, distributions, slices, and the error rate by distance.

    Args:
        path: File to write: the page.
        config: Tests and limits.
        shifts: The result of each test, from `compare`.
        sides: Title of each side -> its images. The reference is the first side.
        slices: The result of each slice, from `compare_slices`.
        errors: The error rate in each bin of distances, from `error_by_distance`.
    """
    page = Page(f"Drift of {config.candidate}")
    any_drift = any(shift.drifted for shift in shifts)
    page.callout(finding(shifts), not any_drift)
    add_comparison(page, config, shifts, sides)
    add_slices(page, slices, config.alpha)

    page.heading("Errors by distance", 3)
    page.text(ERRORS)
    rows = []
    for part in errors:
        rows.append([f"{part.low:.2f} to {part.high:.2f}", part.images, f"{part.error:.3f}"])
    page.table(["distance", "images", "error rate"], rows)
    page.write(path)


def finding(shifts: list[Shift]) -> str:
    """Return a paragraph in Markdown. It says which tests found drift, and how the means of the features changed."""
    drifted = [shift for shift in shifts if shift.drifted]
    if not drifted:
        return "**No drift** was found, neither in all features together nor in the embeddings."

    joint, features = [], []
    for shift in drifted:
        if np.isnan(shift.change):
            joint.append(spoken(shift.name))
        else:
            features.append(shift)
    features.sort(key=lambda shift: -abs(shift.change))

    means = "No single feature drifted."
    if features:
        changes = ", ".join(f"{spoken(shift.name)} {shift.change:+.2f}" for shift in features)
        means = f"**Means changed** (in standard deviations): {changes}."
    return f"**Drift** was found in {' and '.join(joint)}. {means}"


def add_comparison(page: Page, config: DriftConfig, shifts: list[Shift], sides: Sides) -> None:
    """Append the sizes of the two sides, the method, the table of the tests, and the distributions of the features."""
    sizes = []
    for title, side in sides.items():
        sizes.append(f"{title}, with {len(side.groups)} images of {len(set(side.groups))} groups")
    page.text(f"The reference is the {sizes[0]}. The current images are the {sizes[1]}.")

    page.text(METHOD.format(alpha=config.alpha, min_effect=config.min_effect))
    headers = ["test", "effect", "limit by chance", "mean change", "p", "result"]
    page.table(headers, list(map(_test_row, shifts)))

    reference, current = sides.values()
    histograms = _draw_histograms(shifts, reference.features, current.features)
    page.figure(histograms, DISTRIBUTIONS, "histograms of the features")


def add_slices(page: Page, slices: list[SliceComparison], alpha: float) -> None:
    """Append a table with the tests that found drift in each slice. Without slices, nothing is appended."""
    if not slices:
        return
    page.heading("Slice by slice", 3)
    page.text(SLICES.format(alpha=alpha))
    page.table(["slice", "images", "groups", "tests that found drift"], list(map(_slice_row, slices)))


def write_skipped(path: str | Path, title: str, why: str) -> None:
    """Write the page of a comparison that was skipped. The page gives the reason `why`."""
    page = Page(title)
    page.callout(f"**Skipped**: {why}.", False)
    page.write(path)


def write_evidently(
    path: str | Path, reference: pd.DataFrame, current: pd.DataFrame, shifts: list[Shift], config: DriftConfig
) -> None:
    """Write the report of the library Evidently on the features. The report shows the results of our tests.

    Evidently's own tests treat images as independent, so these tests find drift too easily. So we use Evidently's
    Wasserstein distance, which equals our effect. For each feature, we set the threshold of this distance just below or
    just above our effect. Evidently then reports drift for the same features as our tests.
    """
    if not config.evidently:
        write_skipped(
            path, "Evidently's report", "the parameter drift.evidently is false, so this report is switched off"
        )
        return
    # Imported here, because the import takes seconds.
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    thresholds = {}
    for shift in shifts:
        if shift.name in reference:
            just_below, just_above = 0.999 * shift.effect, 1.001 * shift.effect + 1e-9
            thresholds[shift.name] = just_below if shift.drifted else just_above
    share_of_one_column = 1 / len(reference.columns)
    preset = DataDriftPreset(num_method="wasserstein", per_column_threshold=thresholds, drift_share=share_of_one_column)

    definition = DataDefinition(numerical_columns=list(reference.columns))
    current_data = Dataset.from_pandas(current, data_definition=definition)
    reference_data = Dataset.from_pandas(reference, data_definition=definition)
    Report([preset]).run(current_data, reference_data).save_html(str(path))


def _test_row(shift: Shift) -> list:
    change = "" if np.isnan(shift.change) else f"{shift.change:+.2f}"
    verdict = Badge(not shift.drifted, "drift" if shift.drifted else "none")
    return [spoken(shift.name), f"{shift.effect:.3f}", f"{shift.chance:.3f}", change, f"{shift.p:.3g}", verdict]


def _slice_row(part: SliceComparison) -> list:
    if part.why:
        result = f"not compared: {part.why}"
    else:
        drifted = [spoken(shift.name) for shift in part.shifts if shift.drifted]
        result = f"{len(drifted)} of {len(part.shifts)}"
        if drifted:
            result += f": {', '.join(drifted)}"
    return [str(part.slice), part.images, part.photos, result]


def _draw_histograms(shifts: list[Shift], reference: pd.DataFrame, current: pd.DataFrame) -> Figure:
    features = filter(lambda shift: shift.name in reference.columns, shifts)
    ordered = sorted(features, key=lambda shift: (shift.p, -shift.effect))

    rows = -(-len(ordered) // HISTOGRAM_COLUMNS)
    figure = Figure(figsize=(10, 2 * rows), layout="constrained")
    axes = figure.subplots(rows, HISTOGRAM_COLUMNS, squeeze=False).ravel()

    for axis, shift in zip(axes, ordered, strict=False):
        before, after = reference[shift.name].to_numpy(), current[shift.name].to_numpy()
        bins = np.histogram_bin_edges(np.concatenate([before, after]), HISTOGRAM_BINS)
        axis.hist(before, bins, density=True, histtype="step", label="reference")
        axis.hist(after, bins, density=True, histtype="step", label="current")

        verdict = " (drift)" if shift.drifted else ""
        axis.set_title(spoken(shift.name) + verdict, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.locator_params(axis="x", nbins=5)
        axis.set_yticks([])

    for empty in axes[len(ordered) :]:
        empty.set_axis_off()
    axes[0].legend(fontsize=7)
    return figure
