"""Classify image files with a registered model: a table of answers, and a page to look through."""

import base64
import csv
import glob
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from components.shared.data.image import SUFFIXES, ImageError, decode, thumbnail
from components.shared.errors import InputError
from components.shared.network.served_process import ModelLoadError, ModelProcess
from components.shared.services import mlflow_runs

THUMBNAILS, THUMBNAIL = 300, 112  # on the page; pixels


@dataclass(frozen=True)
class Answer:
    """One row of the results; of a file that could not be read only `path` and `error` are filled.

    Attributes:
        path: The file.
        p_crack: Calibrated P(crack), 0 to 1.
        label: "crack" or "no_crack".
        threshold: P(crack) from which it is called a crack.
        error: Why there is no answer; empty where there is one.
    """

    path: str
    p_crack: float | None = None
    label: str = ""
    threshold: float | None = None
    error: str = ""


def find_images(paths: list[str]) -> list[Path]:
    """Return the files meant: files as they are, image files in folders and below them, and what a pattern matches.

    Raises:
        InputError: A path names nothing, or a folder holds no image.
    """
    found: dict[Path, None] = {}  # ordered, each once
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            if not files:
                raise InputError(f"folder {given} holds no image; looked for are {', '.join(SUFFIXES)}")
        else:
            files = [path] if path.is_file() else [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
            files = [file for file in files if file.is_file()]
            if not files:
                raise InputError(f"{given} names no file; give image files, folders or patterns in quotes")
        found |= dict.fromkeys(files)
    return list(found)


def version_meant(model_uri: str) -> str:
    """Return the URI of the version that bears an alias now, since the alias may move; any other URI as it is.

    Raises:
        InputError: No version bears the alias.
    """
    match = re.fullmatch("models:/([^/@]+)@([^/@]+)", model_uri)
    if not match:
        return model_uri
    name, alias = match.groups()
    version = mlflow_runs.version_by_alias(name, alias)
    if version is None:
        raise InputError(
            f"no version of {name} is {alias}; `crack-pipeline status` shows the versions, `promote` makes one "
            f"champion, and --model asks any of them, such as models:/{name}/1"
        )
    return f"models:/{name}/{version}"


def classify(model_uri: str, files: list[Path], batch_size: int, progress: Callable[[int], None]) -> Iterator[Answer]:
    """Yield an answer for each file, in order, a batch at a time; a file that is no image gets a row with an error.

    Args:
        model_uri: As MLflow writes it, such as `models:/crack-classifier@champion`.
        files: Image files.
        batch_size: Images sent to the model at once.
        progress: Told how many more files are done.

    Raises:
        InputError: The model cannot be loaded.
        RuntimeError: Its process ended; where memory ran out, a smaller `batch_size` needs less.
    """
    remaining = iter(files)
    try:
        with ModelProcess(model_uri) as model:
            while batch := list(islice(remaining, batch_size)):
                read = [_read(file) for file in batch]
                found = iter(model.ask([data for data in read if isinstance(data, str)]))
                for file, data in zip(batch, read, strict=True):
                    yield Answer(str(file), **next(found)) if isinstance(data, str) else data
                progress(len(batch))
    except ModelLoadError as error:
        raise InputError(f"{error}; `crack-pipeline status` shows versions and aliases") from error


def _read(file: Path) -> str | Answer:
    try:
        data = file.read_bytes()
        decode(data)
    except (OSError, ImageError) as error:
        return Answer(str(file), error=str(error))
    return base64.b64encode(data).decode()


def write_results(answers: Iterator[Answer], path: Path) -> list[Answer]:
    """Write answers as CSV while they come; return them."""
    kept = []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Answer)])
        writer.writeheader()
        for answer in answers:
            writer.writerow(asdict(answer))
            kept.append(answer)
    return kept


def summary(answers: list[Answer], model_uri: str) -> str:
    """Say in one sentence what came out."""
    cracks, failed = sum(answer.label == "crack" for answer in answers), sum(bool(answer.error) for answer in answers)
    bound = next((f" (P(crack) at least {a.threshold:.3g})" for a in answers if a.threshold is not None), "")
    found = f"{cracks:,} with a crack{bound}, {failed:,} without an answer"
    return f"{len(answers):,} files answered by {model_uri}: {found}"


def write_page(answers: list[Answer], model_uri: str, path: Path) -> None:
    """Write a page: how many cracks, the surest ones first with a thumbnail each, and the files that failed."""
    from components.shared.page import Page

    page = Page("Crack or no crack")
    failed = [answer for answer in answers if answer.error]
    page.text(f"{summary(answers, f'`{model_uri}`')}.")
    if failed:
        page.heading("Without an answer")
        page.table(["file", "why"], [[answer.path, answer.error] for answer in failed])
    answered = sorted((a for a in answers if a.p_crack is not None), key=lambda a: -(a.p_crack or 0))
    if answered:
        page.heading("Answers, the surest cracks first")
        if len(answered) > THUMBNAILS:
            page.text(f"The first {THUMBNAILS}; the table of results holds all.")
        rows = [[_picture(a), a.path, f"{a.p_crack:.3f}", a.label.replace("_", " ")] for a in answered[:THUMBNAILS]]
        page.table(["image", "file", "P(crack)", "answer"], rows)
    page.write(path)


def _picture(answer: Answer) -> Any:
    from components.shared.page import Picture

    try:
        small = thumbnail(decode(Path(answer.path).read_bytes()), THUMBNAIL)
        return Picture(small, f"{answer.path}, answered {answer.label.replace('_', ' ')}")
    except (OSError, ImageError):  # it was there when it was answered
        return "gone"
