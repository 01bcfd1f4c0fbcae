"""Compare production images with the champion's training images, store the result, and tag the model version."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from components.drift.config import DriftConfig
from components.drift.drift_tests import Shift, compare, even_out, why_not
from components.drift.error_by_drift import drift_distance
from components.drift.page import add_comparison, add_slices, finding, write_evidently, write_skipped
from components.drift.slices import SliceComparison, compare_slices
from components.drift.verdict_history import (
    CHECKS_IN_TREND,
    Verdict,
    add_trend,
    as_json,
    earlier,
    keep,
    lasts_since,
    minute,
)
from components.shared.data.drift_profile import Profile, read_profile
from components.shared.data.image_features import FEATURES
from components.shared.events import warn
from components.shared.page import Page
from components.shared.services import mlflow_runs
from components.shared.services.store import Store

ADVICE = {
    "steady": "The champion can stay in use: these images do not differ measurably from its training images.",
    "drift": "The images changed, but not enough for a retraining. Look at the tests that found drift, and at the "
    "result of the next check.",
    "retrain": "Label some of these images and train again. The champion was measured on other images, so its scores "
    "do not hold for the images of this check.",
    "skipped": "These images were not tested. Collect more images. If you expected more images here, check the upload.",
}
EACH_IMAGE_A_PHOTO = "every image was counted as a separate photo"
ASSUMPTION = (
    f"**Assumption**: {EACH_IMAGE_A_PHOTO}, because collect.group_pattern did not find two images of the same photo. "
    "If several images are tiles of one photo, the check finds drift too easily, because such tiles resemble each "
    "other. In this case, set or correct collect.group_pattern"
)
STILL_ASKED_FOR = (
    "**A retraining has been needed since {since} UTC**. No check since that time was steady. Before you start a "
    "training, check whether one was already started for this drift. If `retrain.start` is true, the pipeline itself "
    "starts one training for this drift, and does not start another one at the next check."
)
PHOTOS_IN_TABLE = 10

Kind = Literal["steady", "drift", "retrain", "skipped"]


@dataclass(frozen=True)
class Finding:
    """The result of the comparison of production images with training images.

    Attributes:
        reference: The training images that were compared.
        observed: The production images that were compared.
        count: Number of all production images.
        alone: True if no two images have the same photo. Every image then counts as a separate photo.
        why: The reason why the images could not be compared. It is empty if they were compared.
        shifts: The result of each test. It is empty if the images could not be compared.
        slices: The result of each slice. It is empty if the images could not be compared.
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
    """Compare the profiles of production and training images. Write the pages, store the result, and tag the version.

    Args:
        reference_path: Profile of the champion's training sample.
        observed_path: Profile of the production images.
        images: Folder or prefix of the production images. The page shows it.
        version: The champion's model version.
        config: Tests, limits, and the registered model's name.
        seed: Seed of the samples and permutations.
        job: The pipeline job's id.
        out: Paths to write: "page", "evidently" and "summary".

    Returns:
        The result: steady, drift, retrain or skipped. A check is skipped if there are too few images or photos.
    """
    store = Store(config.store)
    found = _compare(read_profile(reference_path), read_profile(observed_path), images, config, seed)

    before = earlier(store, config.model_name, job)
    before_on_version = [verdict for verdict in before if verdict.version == version]
    verdict = _judge(found, images, version, before_on_version, config)
    keep(store, verdict, job)

    trend = [*before, verdict][-CHECKS_IN_TREND:]
    _write_page(out["page"], verdict, found, trend, config)
    Path(out["summary"]).write_text(as_json(verdict), encoding="utf-8")

    # A skipped check does not change the tags, so the tags still show the last result.
    if found.why:
        write_skipped(out["evidently"], "Evidently's report", found.why)
        return verdict.verdict

    for key, value in verdict.tags.items():
        mlflow_runs.client().set_model_version_tag(config.model_name, version, key, value)
    if found.alone:
        warn(ASSUMPTION.replace("*", ""))
    write_evidently(out["evidently"], found.reference.features, found.observed.features, found.shifts, config)
    return verdict.verdict


def _compare(reference: Profile, observed: Profile, images: str, config: DriftConfig, seed: int) -> Finding:
    count = len(observed.groups)
    alone = len(set(observed.groups)) == count

    why = why_not(reference.groups, observed.groups)
    if count == 0:
        why = f"there is no image under {images}"
    if why:
        return Finding(reference, observed, count, alone, why)

    slices = compare_slices(reference, observed, config, seed)
    kept = even_out(reference.groups, observed.groups, seed, config.sample)
    reference, observed = reference.rows(kept.reference), observed.rows(kept.current)
    shifts = compare(reference, observed, config, seed)
    return Finding(reference, observed, count, alone, why, shifts, slices)


def _judge(found: Finding, images: str, version: str, before: list[Verdict], config: DriftConfig) -> Verdict:
    """Return the result of this check. `before` has the earlier results for this model version, the oldest first."""
    checked = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    drifted = _drifted(found.shifts)
    slices = {str(part.slice): _drifted(part.shifts) for part in found.slices if part.shifts}

    kind = _kind(found, config)
    since = ""
    if kind in ("drift", "retrain"):
        since = lasts_since(before)
    if kind == "retrain" and not since:
        since = checked

    reason = found.why
    if not reason:
        earlier_day = since[:10] if since != checked else ""
        reason = _reason(found, _new_in_slices(slices, before), earlier_day)

    return Verdict(
        verdict=kind,
        reason=reason,
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


def _kind(found: Finding, config: DriftConfig) -> Kind:
    if found.why:
        return "skipped"
    drifted = _drifted(found.shifts)
    if len(drifted) / len(found.shifts) >= config.retrain_share:
        return "retrain"
    return "drift" if drifted else "steady"


def _new_in_slices(slices: dict[str, list[str]], before: list[Verdict]) -> list[str]:
    """Return the slices with new drift.

    Drift in a slice is new if this check finds it, but the last check that compared the slice did not find it. So if
    the images of a camera differ in every check, the camera is reported only once.
    """
    last_found: dict[str, list[str]] = {}
    for verdict in before:
        last_found |= verdict.slices
    return [name for name, tests in slices.items() if tests and not last_found.get(name)]


def _reason(found: Finding, new_slices: list[str], asked_since: str) -> str:
    drifted = _drifted(found.shifts)
    reason = f"{len(drifted)} of {len(found.shifts)} tests found drift"
    if drifted:
        reason += f": {', '.join(drifted)}"
    if new_slices:
        reason += f"; slices with new drift: {', '.join(new_slices)}"
    if asked_since:
        reason += f"; a retraining has been needed since {asked_since}"
    if found.alone:
        reason += f"; {EACH_IMAGE_A_PHOTO}"
    return reason


def _drifted(shifts: list[Shift]) -> list[str]:
    return [shift.name for shift in shifts if shift.drifted]


def _write_page(path: str, verdict: Verdict, found: Finding, trend: list[Verdict], config: DriftConfig) -> None:
    page = Page(f"Drift check of {verdict.model}, version {verdict.version}")
    page.callout(_summary(verdict, found), verdict.verdict == "steady")
    page.text(f"{verdict.count} images of `{verdict.images}` were checked at {verdict.checked}.")

    if found.shifts:
        page.heading("Tests")
        sides = {"training sample": found.reference, "production images": found.observed}
        add_comparison(page, config, found.shifts, sides)
        add_slices(page, found.slices, config.alpha)

        page.heading("Photos farthest from the training sample")
        page.text(
            "For each image feature, we count how many standard deviations an image is away from the mean of the "
            "training images. The distance is the root mean square of these numbers. A typical training image has a "
            "distance of about 1. The table shows the mean distance of the images of each photo."
        )
        page.table(["photo", "images", "distance"], _farthest_photos(found.reference, found.observed))

    add_trend(page, trend, config.alpha)
    page.write(path)


def _summary(verdict: Verdict, found: Finding) -> str:
    """Return the first paragraphs of the page as Markdown: the result, and what to do."""
    result = finding(found.shifts) if found.shifts else f"**Skipped**: {found.why}."
    paragraphs = [result, ADVICE[verdict.verdict]]
    if verdict.verdict == "retrain" and verdict.since != verdict.checked:
        paragraphs.append(STILL_ASKED_FOR.format(since=minute(verdict.since)))
    if found.alone and found.shifts:
        paragraphs.append(f"{ASSUMPTION}.")
    return "\n\n".join(paragraphs)


def _farthest_photos(reference: Profile, current: Profile) -> list[list]:
    image_features = list(FEATURES)
    distance = drift_distance(reference.features[image_features], current.features[image_features])
    by_photo = pd.Series(distance).groupby(current.groups).agg(["count", "mean"])
    farthest = by_photo.nlargest(PHOTOS_IN_TABLE, "mean")

    rows = []
    for photo, row in farthest.iterrows():
        rows.append([photo, int(row["count"]), f"{row['mean']:.2f}"])
    return rows
