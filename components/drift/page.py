"""The drift page, and Evidently's report beside it."""

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
    "Two tests decide: of all features together, and of the network's embeddings; each is the energy distance of the "
    "photos' means, their correlations partly removed. Where they find drift, the features are asked one by one. "
    "*Effect* is in standard deviations: of the means of all photos in the two tests, of the reference's images in the "
    "features (Wasserstein distance). *Chance*: what 95 of 100 random deals of the groups (photos) to the two sides "
    "stay below; groups are dealt, not images, because tiles of one photo resemble each other. *p* is corrected for "
    "the number of tests (Westfall and Young), the two and the features each among themselves: without any drift, the "
    "chance of a single false alarm in this whole table is at most {alpha:.0%}. Drift is p ≤ {alpha:g} with an effect "
    "of at least {min_effect:g}."
)
SLICES = (
    "Each against the same part of the reference, or all of it where it has none. Tests as above, stricter by the "
    "number of slices compared: without any drift, the chance of a single false alarm in this whole table is at most "
    "{alpha:.0%} too. A slice may drift where the whole does not: few images hardly move the whole. One that the "
    "reference does not know, such as a camera that only ever sees one kind of concrete, may differ from the mixture "
    "every time; what counts there is a change from check to check."
)
ERRORS = (
    "Distance of the current images from the reference (root mean square of the image features' z-scores; about 1 is "
    "like the training images) and the share of wrong answers, in bins of equal size. Where the rate rises with the "
    "distance, drift costs accuracy."
)
Sides = dict[str, Profile]  # what a side is -> the side, reference first


def write_page(
    path: str | Path,
    config: DriftConfig,
    shifts: list[Shift],
    sides: Sides,
    slices: list[SliceComparison],
    errors: list[Bin],
) -> None:
    """Write the drift page of a candidate: verdict, table, distributions, error by drift."""
    page = Page(f"Drift of {config.candidate}")
    page.callout(finding(shifts), not any(shift.drifted for shift in shifts))
    add_comparison(page, config, shifts, sides)
    add_slices(page, slices, config.alpha)
    page.heading("Errors by drift", 3)
    page.text(ERRORS)
    rows = [[f"{part.low:.2f} to {part.high:.2f}", part.images, f"{part.error:.3f}"] for part in errors]
    page.table(["distance", "images", "error rate"], rows)
    page.write(path)


def add_slices(page: Page, slices: list[SliceComparison], alpha: float) -> None:
    """Append what drifted in each slice by itself; nothing where there are none."""
    if slices:
        page.heading("Slice by slice", 3)
        page.text(SLICES.format(alpha=alpha))
        page.table(["slice", "images", "groups", "tests that drifted"], [_slice_row(part) for part in slices])


def _slice_row(part: SliceComparison) -> list:
    moved = [spoken(shift.name) for shift in part.shifts if shift.drifted]
    found = f"{len(moved)} of {len(part.shifts)}" + (f": {', '.join(moved)}" if moved else "")
    return [str(part.slice), part.images, part.photos, f"not compared: {part.why}" if part.why else found]


def finding(shifts: list[Shift]) -> str:
    """What drifted, and which way, as a sentence in Markdown."""
    moved = [shift for shift in shifts if shift.drifted]
    if not moved:
        return "**No drift**, neither in the features together nor in the embeddings."
    changed = sorted((shift for shift in moved if not np.isnan(shift.change)), key=lambda shift: -abs(shift.change))
    which = ", ".join(f"{spoken(shift.name)} {shift.change:+.2f}" for shift in changed)
    means = f"**Means moved** (in standard deviations): {which}." if which else "No single feature accounts for it."
    joint = " and ".join(spoken(shift.name) for shift in moved if np.isnan(shift.change))
    return f"**Drift**, found by {joint}. {means}"


def add_comparison(page: Page, config: DriftConfig, shifts: list[Shift], sides: Sides) -> None:
    """Append what was compared, how, the table of the tests, and the distributions."""
    sizes = [f"{name}: {len(side.groups)} images of {len(set(side.groups))} groups" for name, side in sides.items()]
    page.text(f"Reference, {sizes[0]}. Current, {sizes[1]}.")
    page.text(METHOD.format(alpha=config.alpha, min_effect=config.min_effect))
    page.table(["feature", "effect", "chance", "mean change (sd)", "p", "verdict"], [_row(shift) for shift in shifts])
    page.figure(
        _draw(shifts, *(side.features for side in sides.values())),
        "Distributions, the surest shift first. Most features are natural logarithms: 0.1 more is about 10 % more.",
        "histograms of the features",
    )


def write_skipped(path: str | Path, title: str, why: str) -> None:
    """Write the page of a comparison that could not be made."""
    page = Page(title)
    page.callout(f"**Skipped**: {why}.", False)
    page.write(path)


def write_evidently(
    path: str | Path, reference: pd.DataFrame, current: pd.DataFrame, shifts: list[Shift], config: DriftConfig
) -> None:
    """Draw Evidently's report of the same features, with our verdict: its own takes images for independent."""
    if not config.evidently:
        write_skipped(path, "Evidently's report", "it is switched off (drift.evidently)")
        return
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=list(reference.columns))
    sides = [Dataset.from_pandas(side, data_definition=definition) for side in (current, reference)]
    # its Wasserstein distance is our effect, so that a threshold just below or above it makes the verdict ours
    thresholds = {
        shift.name: shift.effect * (0.999 if shift.drifted else 1.001) + (0 if shift.drifted else 1e-9)
        for shift in shifts
        if shift.name in reference
    }
    any_column = 1 / len(reference.columns)
    preset = DataDriftPreset(num_method="wasserstein", per_column_threshold=thresholds, drift_share=any_column)
    Report([preset]).run(*sides).save_html(str(path))


def _row(shift: Shift) -> list:
    verdict = Badge(not shift.drifted, "drift" if shift.drifted else "none")
    change = "" if np.isnan(shift.change) else f"{shift.change:+.2f}"
    return [
        spoken(shift.name),
        f"{shift.effect:.3f}",
        f"{shift.chance:.3f}",
        change,
        f"{shift.p:.3g}",
        verdict,
    ]


def _draw(shifts: list[Shift], reference: pd.DataFrame, current: pd.DataFrame) -> Figure:
    ordered = sorted((s for s in shifts if s.name in reference.columns), key=lambda shift: (shift.p, -shift.effect))
    columns = 4
    figure = Figure(figsize=(10, 2 * -(-len(ordered) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(ordered) // columns), columns, squeeze=False).ravel()
    for axis, shift in zip(axes, ordered, strict=False):
        pair = [reference[shift.name].to_numpy(), current[shift.name].to_numpy()]
        bins = np.histogram_bin_edges(np.concatenate(pair), 25)
        for values, name in zip(pair, ("reference", "current"), strict=True):
            axis.hist(values, bins, density=True, histtype="step", label=name)
        axis.set_title(spoken(shift.name) + (" (drift)" if shift.drifted else ""), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.locator_params(axis="x", nbins=5)
        axis.set_yticks([])
    for axis in axes[len(ordered) :]:
        axis.set_axis_off()
    axes[0].legend(fontsize=7)
    return figure
