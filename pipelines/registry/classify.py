"""Classify image files with a registered model, and write the answers as a table and as a page."""

import base64
import contextlib
import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from components.shared.data.image import ImageError, decode, decode_filled, thumbnail
from components.shared.data.novelty import STRANGE, USUAL_SHARE_OF_STRANGE
from components.shared.data.scaling_note import scaling_note, used_bits_counts
from components.shared.errors import InputError
from components.shared.events import log, warn
from components.shared.network.served_process import ModelLoadError, ModelProcess
from components.shared.regular_file import reason, require_file
from components.shared.services import mlflow_runs
from pipelines.registry.signing import signed_folder

MAX_THUMBNAILS = 300  # largest number of thumbnails in a section of the page
OF_ALL = "Answers, the most certain cracks first"
THUMBNAIL_PIXELS = 112
FEWEST_TO_WARN = 5
WHERE_VERSIONS_ARE = "`crack-pipeline status` shows the versions and aliases"


@dataclass(frozen=True)
class Answer:
    """A row of the results. A file without an answer has only `path`, `model`, `version` and `error`.

    Attributes:
        path: Path of the image file.
        p_crack: Calibrated P(crack), 0 to 1.
        label: "crack" or "no_crack".
        threshold: The label is "crack" if P(crack) is at least this threshold, 0 to 1.
        novelty: How much the image differs from the training images: a number, 0 or more. Above 1, the answer is not
            reliable.
        needs_review: Whether a person must look at the image. None if the model has no review band.
        model: Name of the registered model, or the URI of another model.
        version: Number of the model version; empty if the model is not a registered version.
        error: The reason why the file has no answer. It is empty if the file has an answer.
    """

    path: str
    p_crack: float | None = None
    label: str = ""
    threshold: float | None = None
    novelty: float | None = None
    needs_review: bool | None = None
    model: str = ""
    version: str = ""
    error: str = ""


# Model versions of other releases of this project may answer with fewer or more fields.
ANSWERED = ("p_crack", "label", "threshold", "novelty", "needs_review", "error")


def version_meant(model_uri: str) -> str:
    """Replace the alias in a model's URI by the number of the model version that has the alias now.

    So the URI still means the same version if the alias moves later. A URI without an alias is returned unchanged.

    Raises:
        InputError: No model version has the alias.
    """
    match = re.fullmatch("models:/([^/@]+)@([^/@]+)", model_uri)
    if not match:
        return model_uri

    name, alias = match.groups()
    version = mlflow_runs.version_by_alias(name, alias)
    if version is None:
        raise InputError(
            f"no version of {name} has the alias {alias}; `crack-pipeline status` shows the versions. Make a version "
            f"champion with `crack-pipeline promote`, or give a version with --model, such as models:/{name}/1"
        )
    return f"models:/{name}/{version}"


def name_and_version(model_uri: str) -> tuple[str, str]:
    """Return the name and the number from a URI in the form `models:/NAME/NUMBER`.

    If the URI has another form, return the URI and "".
    """
    match = re.fullmatch("models:/([^/@]+)/([0-9]+)", model_uri)
    return (match[1], match[2]) if match else (model_uri, "")


@contextlib.contextmanager
def checked_files(model_uri: str, signed_by: Path | None) -> Iterator[str]:
    """Fetch a registered model version and check its files, before the model is loaded.

    Args:
        model_uri: Model URI of MLflow.
        signed_by: PEM file of the public key that must verify the version's signature. None: no signature is needed.

    Yields:
        The folder with the files of the version. If `model_uri` does not name a registered version, the function
        yields `model_uri` and checks nothing, because only registered versions have a digest.

    Raises:
        InputError: The version does not exist, or its files are not the registered files. With `signed_by`: the
            signature is missing or wrong, or `model_uri` does not name a registered version.
    """
    name, version = name_and_version(model_uri)
    if not version and signed_by:
        raise InputError(
            f"{model_uri} is not a registered model version, so it cannot have the signature that --require-signature "
            "requires; give a version such as models:/crack-classifier/1"
        )
    if not version:
        log.warning("%s is not a registered model version, so its files are not checked", model_uri)
        yield model_uri
        return

    try:
        with signed_folder(name, version, signed_by) as folder:
            yield str(folder)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise InputError(f"{model_uri} cannot be loaded: {error.message}; {WHERE_VERSIONS_ARE}") from error


def classify(
    model_uri: str,
    files: list[Path],
    batch_size: int,
    progress: Callable[[int], None],
    signed_by: Path | None,
) -> Iterator[Answer]:
    """Yield an answer for each file, in order, batch by batch. If a file is not an image, its answer has an error.

    Args:
        model_uri: Model URI of MLflow, such as `models:/crack-classifier@champion`.
        files: Image files.
        batch_size: Number of images sent to the model at once.
        progress: Function that is called with the number of files that were classified since the last call.
        signed_by: PEM file of the public key that must verify the version's signature. None: no signature is needed.

    Raises:
        InputError: The model cannot be loaded, its files are not the registered files, or a required signature is
            missing or wrong.
        RuntimeError: The model's process ended. If memory ran out, use a smaller `batch_size`.
    """
    remaining = iter(files)
    used_bits: list[int] = []
    name, version = name_and_version(model_uri)
    try:
        with checked_files(model_uri, signed_by) as folder, ModelProcess(folder, model_uri) as model:
            while batch := list(islice(remaining, batch_size)):
                for answer in _answers(model, batch, used_bits):
                    yield replace(answer, model=name, version=version)
                progress(len(batch))
    except ModelLoadError as error:
        raise InputError(f"{error}; {WHERE_VERSIONS_ARE}") from error

    scaled = used_bits_counts(used_bits)
    if scaled:
        warn(scaling_note("images", scaled))


def _answers(model: ModelProcess, files: list[Path], used_bits: list[int]) -> Iterator[Answer]:
    """Yield an answer for every file of a batch, in order. Add `Decoded.used_bits` of each image to `used_bits`."""
    images = {}
    errors = {}
    for file in files:
        try:
            require_file(file)
            data = file.read_bytes()
            used_bits.append(decode_filled(data).used_bits)
            images[file] = base64.b64encode(data).decode()
        except OSError as error:
            errors[file] = reason(error)
        except ImageError as error:
            errors[file] = str(error)

    answers = dict(zip(images, model.ask(list(images.values())), strict=True))
    for file in files:
        if file in errors:
            yield Answer(str(file), error=errors[file])
        else:
            known = {name: value for name, value in answers[file].items() if name in ANSWERED}
            yield Answer(str(file), **known)


def write_results(answers: Iterator[Answer], path: Path) -> list[Answer]:
    """Write each answer to a CSV file as soon as it arrives. Return all answers."""
    written = []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Answer)])
        writer.writeheader()
        for answer in answers:
            writer.writerow(asdict(answer))
            written.append(answer)
    return written


def summary(answers: list[Answer], model_uri: str) -> str:
    """Return a sentence without a full stop.

    It says how many files have a crack, how many need review, and how many have no answer.
    """
    cracks = sum(answer.label == "crack" for answer in answers)
    failed = sum(bool(answer.error) for answer in answers)
    thresholds = [answer.threshold for answer in answers if answer.threshold is not None]
    bound = f" (P(crack) at least {thresholds[0]:.3g})" if thresholds else ""
    counts = f"{cracks:,} with a crack{bound}, {_reviews(answers)}{failed:,} without an answer"
    return f"{len(answers):,} files classified by {model_uri}: {counts}"


def _reviews(answers: list[Answer]) -> str:
    """Return how many files need review, followed by a comma; "" if the model has no review band."""
    known = [answer.needs_review for answer in answers if answer.needs_review is not None]
    need = sum(known)
    return f"{need:,} {'needs' if need == 1 else 'need'} review by a person, " if known else ""


def strangeness(answers: list[Answer]) -> str:
    """Return a warning if many of the images are unlike the training images. Otherwise return ""."""
    scores = [answer.novelty for answer in answers if answer.novelty is not None]
    strange = sum(score > STRANGE for score in scores)
    if len(scores) < FEWEST_TO_WARN or strange <= USUAL_SHARE_OF_STRANGE * len(scores):
        return ""
    return (
        f"{strange:,} of {len(scores):,} images are unlike the images that the model was trained on (novelty above 1), "
        "so the model's answers for these images are not reliable; run `crack-pipeline drift-check` with them"
    )


def write_page(answers: list[Answer], model_uri: str, path: Path) -> None:
    """Write a page with the files that have no answer, and with thumbnails of the answered files.

    The most certain cracks come first. The files that need review have a section of their own, before the section of
    the other files.
    """
    from components.shared.page import Page

    page = Page("Crack or no crack")
    page.text(f"{summary(answers, f'`{model_uri}`')}.")
    warning = strangeness(answers)
    if warning:
        page.text(f"**Warning**: {warning}.")

    failed = [answer for answer in answers if answer.error]
    if failed:
        page.heading("Files without an answer")
        page.table(["file", "reason"], [[answer.path, answer.error] for answer in failed])

    answered = [answer for answer in answers if answer.p_crack is not None]
    answered.sort(key=lambda answer: -(answer.p_crack or 0))
    review = [answer for answer in answered if answer.needs_review]
    others = [answer for answer in answered if not answer.needs_review]
    _show(page, "Needs review by a person, the most certain cracks first", review)
    _show(page, "Other answers, the most certain cracks first" if review else OF_ALL, others)
    page.write(path)


def _show(page: Any, heading: str, answers: list[Answer]) -> None:
    """Append a section with a thumbnail of each answered file. Without answers, append nothing."""
    if not answers:
        return

    page.heading(heading)
    if len(answers) > MAX_THUMBNAILS:
        page.text(f"This page shows the first {MAX_THUMBNAILS} of {len(answers):,} answers. The CSV file contains all.")
    rows = []
    for answer in answers[:MAX_THUMBNAILS]:
        label = answer.label.replace("_", " ")
        novelty = "" if answer.novelty is None else f"{answer.novelty:.2f}"
        rows.append(
            [
                _thumbnail(answer.path, label),
                answer.path,
                f"{answer.p_crack:.3f}",
                label,
                _spoken_review(answer.needs_review),
                novelty,
            ]
        )
    page.table(["image", "file", "P(crack)", "answer", "needs review", "novelty"], rows)


def _spoken_review(needs_review: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[needs_review]


def _thumbnail(path: str, label: str) -> Any:
    from components.shared.page import CellImage

    try:
        small = thumbnail(decode(Path(path).read_bytes()), THUMBNAIL_PIXELS)
    except (OSError, ImageError):
        return "the file was removed or changed after it was classified"
    return CellImage(small, f"{path}, answered {label}")
