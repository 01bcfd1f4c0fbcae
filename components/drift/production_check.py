"""Production images against what the champion was trained on: the verdict, and whom it is told to."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from components.drift.config import DriftConfig
from components.drift.drift_tests import Shift, compare, even_out, why_not
from components.drift.error_by_drift import drift_distance
from components.drift.page import add_comparison, add_slices, finding, write_evidently, write_skipped
from components.drift.slices import SliceComparison, compare_slices
from components.drift.verdict_history import SHOWN, Verdict, add_trend, as_json, earlier, keep, lasts_since
from components.shared.data.drift_profile import Profile, read_profile
from components.shared.data.image_features import FEATURES
from components.shared.events import warn
from components.shared.page import Page
from components.shared.services import mlflow_runs
from components.shared.services.store import Store

ADVICE = {
    "steady": "The champion may go on: the images are like those that it was trained on.",
    "drift": "Something moved, but less than asks for a retraining: look at what did, and whether the next check finds "
    "it again.",
    "retrain": "Label some of these images and retrain: on images like these, the champion's measured scores are void.",
    "skipped": "Nothing is known of these images: collect more, or look at the upload if more were to be expected.",
}
ALONE = "every image was taken for a photo of its own"
ASSUMED = (
    f"**Assumed**: {ALONE}, since collect.group_pattern tells no photos. If these are tiles of fewer photos, drift is "
    "found too easily: tiles of one photo resemble each other. Name the photos by collect.group_pattern"
)
LASTING = (
    "**Asked for since {since} UTC** by every check that knew enough: look for the training that was started then "
    "before you start another. With `retrain.start`, a drift starts one training by itself, not one a day."
)
FARTHEST = 10  # photos in the table


@dataclass(frozen=True)
class Finding:
    """What the comparison came to.

    Attributes:
        reference: The training images that were compared.
        observed: The production images that were.
        count: Number of all production images.
        alone: Every image is a photo of its own.
        why: Why they could not be compared; empty if they were.
        shifts: What the tests found.
        slices: Likewise of each slice.
    """

    reference: Profile
    observed: Profile
    count: int
    alone: bool
    why: str
    shifts: list[Shift] = field(default_factory=list)
    slices: list[SliceComparison] = field(default_factory=list)


def check_drift(
    reference_path: str,
    observed_path: str,
    images: str,
    version: str,
    config: DriftConfig,
    seed: int,
    job: str,
    out: dict[str, str],
) -> str:
    """Compare two profiles, write the pages, and tell the store and the registry.

    Args:
        reference_path: Profile of the champion's training sample.
        observed_path: Profile of the production images.
        images: Where they are.
        version: The champion's version.
        config: Tests, limits, and the registered model's name.
        seed: Of the samples and permutations.
        job: The pipeline job's id.
        out: Paths to write: "page", "evidently" and "summary".

    Returns:
        steady, drift, retrain or skipped. Skipped is what no, too few images or too few photos come to.
    """
    found = _compare(read_profile(reference_path), read_profile(observed_path), images, config, seed)
    store = Store(config.store)
    before = earlier(store, config.model_name, job)
    verdict = _judge(found, images, version, [one for one in before if one.version == version], config)
    keep(store, verdict, job)
    _write_page(out["page"], verdict, found, [*before, verdict][-SHOWN:], config)
    if found.why:
        write_skipped(out["evidently"], "Evidently's report", found.why)
    else:
        for key, value in verdict.tags.items():  # a skipped check knows nothing, and hides no earlier verdict
            mlflow_runs.client().set_model_version_tag(config.model_name, version, key, value)
        if found.alone:
            warn(ASSUMED.replace("*", ""))
        write_evidently(out["evidently"], found.reference.features, found.observed.features, found.shifts, config)
    Path(out["summary"]).write_text(as_json(verdict), encoding="utf-8")
    return verdict.verdict


def _compare(reference: Profile, observed: Profile, images: str, config: DriftConfig, seed: int) -> Finding:
    count = len(observed.groups)
    alone = len(set(observed.groups)) == count
    why = why_not(reference.groups, observed.groups) if count else f"there is no image under {images}"
    if why:
        return Finding(reference, observed, count, alone, why)
    slices = compare_slices(reference, observed, config, seed)
    kept = even_out(reference.groups, observed.groups, seed, config.sample)
    reference, observed = reference.rows(kept[0]), observed.rows(kept[1])
    return Finding(reference, observed, count, alone, why, compare(reference, observed, config, seed), slices)


def _judge(found: Finding, images: str, version: str, before: list[Verdict], config: DriftConfig) -> Verdict:
    """The verdict; `before` are the earlier ones on this version, oldest first."""
    drifted = _drifted(found.shifts)
    share = len(drifted) / max(1, len(found.shifts))
    kind = "retrain" if share >= config.retrain_share else "drift" if drifted else "steady"
    checked = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    lasting = lasts_since(before)
    since = {"retrain": lasting or checked, "drift": lasting, "steady": ""}[kind] if not found.why else ""
    slices = {str(part.slice): _drifted(part.shifts) for part in found.slices if part.shifts}
    return Verdict(
        verdict="skipped" if found.why else kind,  # type: ignore[arg-type]
        reason=found.why or _reason(drifted, _news(slices, before), found, since[:10] if since != checked else ""),
        model=config.model_name,
        version=version,
        images=images,
        count=found.count,
        checked=checked,
        effects={shift.name: shift.effect for shift in found.shifts},
        chances={shift.name: shift.chance for shift in found.shifts},
        drifted=drifted,
        slices=slices,
        since=since,
    )


def _news(slices: dict[str, list[str]], before: list[Verdict]) -> list[str]:
    """Slices that drifted now, and did not when they were last compared: a camera's peculiarity is news but once."""
    known: dict[str, list[str]] = {}
    for verdict in before:
        known |= verdict.slices
    return [name for name, tests in slices.items() if tests and not known.get(name)]


def _reason(drifted: list[str], news: list[str], found: Finding, since: str) -> str:
    reason = f"{len(drifted)} of {len(found.shifts)} tests drifted" + (f": {', '.join(drifted)}" if drifted else "")
    reason += f"; new drift of a slice by itself: {', '.join(news)}" if news else ""
    reason += f"; a retraining is asked for since {since}" if since else ""
    return reason + (f"; {ALONE}" if found.alone else "")


def _drifted(shifts: list[Shift]) -> list[str]:
    return [shift.name for shift in shifts if shift.drifted]


def _write_page(path: str, verdict: Verdict, found: Finding, verdicts: list[Verdict], config: DriftConfig) -> None:
    page = Page(f"Drift check of {verdict.model}, version {verdict.version}")
    said = [finding(found.shifts) if found.shifts else f"**Skipped**: {found.why}.", ADVICE[verdict.verdict]]
    if verdict.verdict == "retrain" and verdict.since != verdict.checked:
        said.append(LASTING.format(since=verdict.since[:16].replace("T", " ")))
    if found.alone and found.shifts:
        said.append(f"{ASSUMED}.")
    page.callout("\n\n".join(said), verdict.verdict == "steady")
    page.text(f"{verdict.count} images of `{verdict.images}`, checked {verdict.checked}.")
    if found.shifts:
        page.heading("Tests")
        sides = {"training sample": found.reference, "production images": found.observed}
        add_comparison(page, config, found.shifts, sides)
        add_slices(page, found.slices, config.alpha)
        page.heading("Photos farthest from the training sample")
        page.text("Distance: root mean square of the image features' z-scores, mean over the photo; about 1 is usual.")
        page.table(["photo", "images", "distance"], _farthest(found.reference, found.observed))
    add_trend(page, verdicts, config.alpha)
    page.write(path)


def _farthest(reference: Profile, current: Profile) -> list[list]:
    distance = drift_distance(reference.features[list(FEATURES)], current.features[list(FEATURES)])
    photos = pd.Series(distance).groupby(current.groups).agg(["count", "mean"]).nlargest(FARTHEST, "mean")
    return [[photo, int(row["count"]), f"{np.round(row['mean'], 2):.2f}"] for photo, row in photos.iterrows()]
