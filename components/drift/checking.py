"""Production images against what the champion was trained on: the verdict, and whom it is told to."""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from components.drift.comparison import Shift, compare, even_out, why_not
from components.drift.config import DriftConfig
from components.drift.errors import drift_distance
from components.drift.pages import Sides, add_comparison, finding, write_evidently, write_skipped
from components.drift.verdicts import Verdict, add_trend, as_json, earlier, keep
from components.shared import tracking
from components.shared.image_features import FEATURES
from components.shared.page import Page
from components.shared.profile import Profile, read_profile
from components.shared.runtime import warn
from components.shared.storage import Store

ADVICE = {
    "steady": "The champion may go on: the images are like those that it was trained on.",
    "drift": "Something moved, but less than asks for a retraining: look at what did, and whether the next check finds "
    "it again.",
    "retrain": "Label some of these images and retrain: on images like these, the champion's measured scores are void.",
    "skipped": "Nothing is known of these images: collect more.",
}
ALONE = (
    "Every production image counts as a photo of its own. If they are tiles of fewer photos, the verdict finds drift "
    "too easily: name the photos by collect.group_pattern"
)
FARTHEST = 10  # photos in the table
REFERENCE, PRODUCTION = "training sample", "production images"


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
        steady, drift, retrain or skipped. Skipped is what too few images or photos come to.
    """
    reference, observed = read_profile(reference_path), read_profile(observed_path)
    count, why, shifts = len(observed.groups), why_not(reference.groups, observed.groups), list[Shift]()
    if not why:
        kept = even_out(reference.groups, observed.groups, seed, config.sample)
        reference, observed = reference.rows(kept[0]), observed.rows(kept[1])
        shifts = compare(reference, observed, config, seed)
    verdict = _judge(shifts, why, images, version, count, config)
    store = Store(config.store)
    keep(store, verdict, job)
    sides = {REFERENCE: reference, PRODUCTION: observed}
    _write_page(out["page"], verdict, shifts, sides, earlier(store, config.model_name), config)
    if why:
        write_skipped(out["evidently"], "Evidently's report", why)
    else:
        for key, value in verdict.tags.items():  # a skipped check knows nothing, and hides no earlier verdict
            tracking.client().set_model_version_tag(config.model_name, version, key, value)
        if len(set(observed.groups)) == len(observed.groups):
            warn(ALONE)
        write_evidently(out["evidently"], reference.features, observed.features, shifts, config)
    Path(out["summary"]).write_text(as_json(verdict), encoding="utf-8")
    return verdict.verdict


def _judge(shifts: list[Shift], why: str, images: str, version: str, count: int, config: DriftConfig) -> Verdict:
    drifted = [shift.name for shift in shifts if shift.drifted]
    share = len(drifted) / max(1, len(shifts))
    kind = "retrain" if share >= config.retrain_share else "drift" if drifted else "steady"
    reason = f"{len(drifted)} of {len(shifts)} tests drifted" + (f": {', '.join(drifted)}" if drifted else "")
    return Verdict(
        verdict="skipped" if why else kind,  # type: ignore[arg-type]
        reason=why or reason,
        model=config.model_name,
        version=version,
        images=images,
        count=count,
        checked=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        effects={shift.name: shift.effect for shift in shifts},
        chances={shift.name: shift.chance for shift in shifts},
        drifted=drifted,
    )


def _write_page(
    path: str,
    verdict: Verdict,
    shifts: list[Shift],
    sides: Sides,
    verdicts: list[Verdict],
    config: DriftConfig,
) -> None:
    page = Page(f"Drift check of {verdict.model}, version {verdict.version}")
    found = finding(shifts) if shifts else f"**Skipped**: {verdict.reason}."
    page.callout(f"{found}\n\n{ADVICE[verdict.verdict]}", verdict.verdict == "steady")
    page.text(f"{verdict.count} images of `{verdict.images}`, checked {verdict.checked}.")
    if shifts:
        page.heading("Tests")
        add_comparison(page, config, shifts, sides)
        photos = sides[PRODUCTION].groups
        if len(set(photos)) == len(photos):
            page.text(ALONE)
        page.heading("Photos farthest from the training sample")
        page.text("Distance: root mean square of the image features' z-scores, mean over the photo; about 1 is usual.")
        page.table(["photo", "images", "distance"], _farthest(*sides.values()))
    add_trend(page, verdicts, config.alpha)
    page.write(path)


def _farthest(reference: Profile, current: Profile) -> list[list]:
    distance = drift_distance(reference.features[list(FEATURES)], current.features[list(FEATURES)])
    photos = pd.Series(distance).groupby(current.groups).agg(["count", "mean"]).nlargest(FARTHEST, "mean")
    return [[photo, int(row["count"]), f"{np.round(row['mean'], 2):.2f}"] for photo, row in photos.iterrows()]
