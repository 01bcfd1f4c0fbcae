"""Accept a model version at a site: plan the draws, read the labels, decide, and store the verdict in the registry."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.shared.config import check_photo_pattern
from components.shared.errors import InputError
from components.shared.hashing import digest, file_digest
from components.shared.name_search import first_groups
from components.shared.regular_file import reason, require_file
from components.shared.results.calibration import read_calibration
from components.shared.results.dossier import CALIBRATION
from components.shared.services.version_files import version_files
from pipelines.image_files import find_images
from pipelines.registry.classify import classify
from pipelines.registry.promotions import Registry
from pipelines.sites.labels import ask_for_labels, check_site, labels_of, read_labels, saved_by_page
from pipelines.sites.page import PageOfSite, write_page
from pipelines.sites.plan import Claim, Limits, Plan, make_plan
from pipelines.sites.record import SiteRecord
from pipelines.sites.site_threshold import SiteThreshold, fit_and_measure
from pipelines.sites.verdict import UNKNOWN, Acceptance, Verdict, decide, unlabelled

FEWEST_PHOTOS = 5
TRAINING_ROWS = "training_rows.parquet"


@dataclass(frozen=True)
class SiteImages:
    """The tiles of a site on this machine.

    Attributes:
        folder: Folder of the tiles. The paths of the tiles are relative to this folder.
        name: The site's name.
        group_pattern: Regular expression for the path of a tile. Its first capturing group is the name of the photo.
    """

    folder: Path
    name: str
    group_pattern: str

    def files(self) -> dict[str, Path]:
        """Return the image files as a dict: path relative to the folder -> file.

        Raises:
            InputError: The folder has no image file, or something in it cannot be read.
        """
        files = {}
        for file in find_images([str(self.folder)]):
            try:
                require_file(file)
            except OSError as error:
                raise InputError(f"{file} cannot be read: {reason(error)}; make it readable, or remove it") from error
            files[file.relative_to(self.folder).as_posix()] = file
        return files


def accept_site(
    images: SiteImages,
    label_file: Path,
    registry: Registry,
    version: str,
    claim: Claim,
    limits: Limits,
    page_path: Path,
    classify_files: Callable[[list[Path]], list[Any]],
) -> Acceptance:
    """Decide whether a model version is good enough at a site. If there are too few labels, ask for more labels.

    Args:
        images: The site.
        label_file: CSV with the columns path and label. It gets a row for each tile to label next.
        registry: The registered model.
        version: The model version.
        claim: The claim that the verdict is about; see `Plan`. If the site has a plan, it must be the plan's claim.
        limits: The limits that must be reached, and the risk.
        page_path: File to write, HTML.
        classify_files: Function that returns an `Answer` for each file. It is called only if the site has no plan yet.

    Raises:
        InputError: An input is wrong: the images, the pattern, the label file, or the model version.
    """
    written = read_labels(label_file)
    files = images.files()
    check_site(written, files, label_file, images.name)

    record = SiteRecord(registry, version, images.name)
    plan = record.plan()
    if plan is None:
        tiles = _classified(images, files, registry, version, classify_files)
        plan = make_plan(tiles, claim, limits, seed=int(digest(images.name, version, sorted(files))[:8], 16))
        record.keep_plan(plan)
    else:
        _check_same(plan, files, images, claim)

    labels = labels_of(plan.tiles, written)
    verdict = decide(plan, labels, limits)
    next_tiles = plan.tiles["path"].iloc[unlabelled(plan, labels)[: verdict.more]].tolist()
    threshold = fit_and_measure(labelled_tiles(plan, labels, verdict), limits.recall)
    acceptance = Acceptance(verdict, next_tiles, threshold)

    ask_for_labels(label_file, written, next_tiles)
    about = PageOfSite(images.name, f"{registry.name} version {version}", files, saved_by_page(label_file, written))
    write_page(acceptance, plan, labels, limits, about, page_path)
    kept = {"page.html": page_path, "labels.csv": label_file}
    record.keep_verdict(summary_of(acceptance, limits, claim), kept)
    return acceptance


def labelled_tiles(plan: Plan, labels: np.ndarray, verdict: Verdict) -> pd.DataFrame:
    """Return the tiles that the verdict is based on, with their labels and weights.

    The weight of a tile is the number of its draws, times the weight of one draw.
    """
    draws = plan.draws[plan.draws["bet"] < verdict.bets]
    times = np.bincount(draws["tile"], minlength=len(plan.tiles))
    tiles = plan.tiles.assign(label=labels, weight=plan.tiles["weight"] * times)
    return tiles[(times > 0) & (labels != UNKNOWN)]


def summary_of(acceptance: Acceptance, limits: Limits, claim: Claim) -> dict[str, Any]:
    """Return the parts of a verdict that the registry stores, as JSON values."""
    verdict = acceptance.verdict
    recall_low, recall_high = verdict.recall.interval
    specificity_low, specificity_high = verdict.specificity.interval
    summary: dict[str, Any] = {
        "decision": verdict.decision,
        "more": verdict.more,
        "why": verdict.why,
        "claim": claim,
        "limits": asdict(limits),
        "recall": [recall_low, recall_high],
        "false_alarms": [1 - specificity_high, 1 - specificity_low],
        "labelled": verdict.labelled,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    if isinstance(acceptance.threshold, SiteThreshold):
        summary["site"] = {name: getattr(acceptance.threshold, name) for name in ("slope", "shift", "threshold")}
    return summary


def classifier(
    model_uri: str, batch_size: int, progress: Callable[[int], None], signed_by: Path | None
) -> Callable[[list[Path]], list[Any]]:
    """Return a function that classifies files with a registered model. For the arguments, see `classify`."""
    return lambda files: list(classify(model_uri, files, batch_size, progress, signed_by))


def _classified(
    images: SiteImages,
    files: dict[str, Path],
    registry: Registry,
    version: str,
    classify_files: Callable[[list[Path]], list[Any]],
) -> pd.DataFrame:
    """Return the tiles as `make_plan` needs them: path, digest, photo, p_crack and called."""
    paths = list(files)
    photos = _photos(paths, images)
    digests = [file_digest(file) for file in files.values()]
    _check_version(registry, version, dict(zip(digests, paths, strict=True)))

    answers = classify_files(list(files.values()))
    unreadable = [path for path, answer in zip(paths, answers, strict=True) if answer.error]
    if unreadable:
        raise InputError(
            f"{len(unreadable)} of {len(paths)} files in {images.folder} are not complete images, such as "
            f"{unreadable[0]}; remove or repair these files"
        )
    return pd.DataFrame(
        {
            "path": paths,
            "digest": digests,
            "photo": photos,
            "p_crack": [answer.p_crack for answer in answers],
            "called": [answer.label == "crack" for answer in answers],
        }
    )


def _photos(paths: list[str], images: SiteImages) -> list[str]:
    """Return the photo of each tile."""
    try:
        pattern = check_photo_pattern(images.group_pattern)
    except ValueError as error:
        raise InputError(f"--group-pattern {error}") from error

    photos = first_groups(pattern, paths)
    unknown = [path for path, photo in zip(paths, photos, strict=True) if not photo]
    if unknown:
        raise InputError(
            f"--group-pattern {pattern!r} finds no photo in {len(unknown)} of {len(paths)} paths, such as "
            f"{unknown[0]}; change the pattern. If every tile is from a different photo, give '(.*)'"
        )
    count = len(set(photos))
    if count < FEWEST_PHOTOS:
        raise InputError(
            f"the {len(paths)} tiles in {images.folder} are from {count} photo{'s' if count > 1 else ''}, such as "
            f"{photos[0]}; a verdict about a site needs at least {FEWEST_PHOTOS} photos. Add photos, or correct "
            "--group-pattern"
        )
    return [photo or "" for photo in photos]


def _check_version(registry: Registry, version: str, path_of: dict[str, str]) -> None:
    """Check that a model version has a calibration, and that it was not trained on tiles of the site."""
    with version_files(registry.name, version) as files:
        if not (files / CALIBRATION).is_file():
            raise InputError(
                f"{registry.name} version {version} has no {CALIBRATION}, so its threshold is unknown; with "
                "--model, choose a version that the pipeline registered"
            )
        read_calibration(files / CALIBRATION)
        known = set(pd.read_parquet(files / TRAINING_ROWS)["sample_id"])

    trained = [path for tile, path in path_of.items() if tile in known]
    if trained:
        raise InputError(
            f"{registry.name} version {version} was trained on {len(trained)} of the {len(path_of)} tiles, such as "
            f"{trained[0]}; remove the {len(trained)} tiles from the folder, because answers about training tiles "
            "say nothing about a new site"
        )


def _check_same(plan: Plan, files: dict[str, Path], images: SiteImages, claim: Claim) -> None:
    """Check that the tiles of the site and the claim have not changed since the plan was made."""
    planned = dict(zip(plan.tiles["path"], plan.tiles["digest"], strict=True))
    changed = sorted(planned.keys() ^ files.keys())
    for path in sorted(planned.keys() & files.keys()):
        if file_digest(files[path]) != planned[path]:
            changed.append(path)
    if changed:
        raise InputError(
            f"after the tiles of the site {images.name} were chosen, {len(changed)} files in {images.folder} were "
            f"added, removed or changed, such as {changed[0]}; restore the files, or begin again under another name "
            "with --site"
        )
    if plan.claim != claim:
        raise InputError(
            f"the tiles of the site {images.name} were chosen with --claim {plan.claim}; give this claim, or begin "
            "again under another name with --site"
        )
