"""Classify image files with a registered model: a table of answers, and a page to look through."""

import base64
import contextlib
import csv
import glob
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from components.shared.image import SUFFIXES, ImageError, decode, thumbnail
from components.shared.runtime import InputError

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


def classify(model_uri: str, files: list[Path], batch_size: int, progress: Callable[[int], None]) -> Iterator[Answer]:
    """Yield an answer for each file, in order, a batch at a time; a file that is no image gets a row with an error.

    Args:
        model_uri: As MLflow writes it, such as `models:/crack-classifier@champion`.
        files: Image files.
        batch_size: Images sent to the model at once.
        progress: Told how many files are done.

    Raises:
        InputError: The model cannot be loaded.
        RuntimeError: Its process was killed.
    """
    with _Model(model_uri) as model:
        remaining = iter(files)
        done = 0
        while batch := list(islice(remaining, batch_size)):
            read = [_read(file) for file in batch]
            found = iter(model.ask([data for data in read if isinstance(data, str)]))
            for file, data in zip(batch, read, strict=True):
                yield Answer(str(file), **next(found)) if isinstance(data, str) else data
            done += len(batch)
            progress(done)


def _read(file: Path) -> str | Answer:
    try:
        data = file.read_bytes()
        decode(data)
    except (OSError, ImageError) as error:
        return Answer(str(file), error=str(error))
    return base64.b64encode(data).decode()


class _Model:
    """The process that answers; see answering.py."""

    def __init__(self, model_uri: str):
        self.uri = model_uri

    def __enter__(self) -> "_Model":
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        script = Path(__file__).with_name("answering.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(script), self.uri],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, encoding="utf-8",
        )  # fmt: skip
        try:
            self._receive()
        except (InputError, RuntimeError):
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._process.communicate(timeout=10)
        self._process.kill()
        self._log.close()

    def ask(self, images: list[str]) -> list[dict[str, Any]]:
        """Return the model's answers to images, base64; none is asked for none."""
        if not images:
            return []
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has ended; what follows says so
            self._process.stdin.write(json.dumps(images) + "\n")
            self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        if self._process.wait() < 0:
            raise RuntimeError(
                f"the process of {self.uri} was ended by signal {-self._process.returncode}; where memory ran out, a "
                "smaller --batch-size needs less"
            )
        self._log.seek(0)
        words = self._log.read().strip().splitlines() or ["it ended without a word"]
        raise InputError(
            f"{self.uri} cannot be loaded and asked: {words[-1]}. `crack-pipeline status` shows versions and aliases"
        )


def write_results(answers: Iterator[Answer], path: Path) -> list[Answer]:
    """Write answers as CSV while they come; the file appears whole at the end, or not at all."""
    kept = []
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Answer)])
            writer.writeheader()
            for answer in answers:
                writer.writerow(asdict(answer))
                kept.append(answer)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return kept


def write_page(answers: list[Answer], model_uri: str, path: Path) -> None:
    """Write a page: how many cracks, the surest ones first with a thumbnail each, and the files that failed."""
    from components.shared.page import Page

    page = Page("Crack or no crack")
    cracks = [answer for answer in answers if answer.label == "crack"]
    failed = [answer for answer in answers if answer.error]
    page.text(
        f"{len(answers)} files, answered by `{model_uri}`: {len(cracks)} cracks, {len(failed)} without an answer."
    )
    if failed:
        page.heading("Without an answer")
        page.table(["file", "why"], [[answer.path, answer.error] for answer in failed])
    shown = sorted((a for a in answers if a.p_crack is not None), key=lambda a: -(a.p_crack or 0))[:THUMBNAILS]
    page.heading("Answers, the surest cracks first")
    if len(shown) < len(answers) - len(failed):
        page.text(f"The first {THUMBNAILS}; the table of results holds all.")
    rows = [[_picture(Path(a.path)), a.path, f"{a.p_crack:.3f}", a.label.replace("_", " ")] for a in shown]
    page.table(["image", "file", "P(crack)", "answer"], rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.write(path)


def _picture(file: Path) -> Any:
    from components.shared.page import Picture

    try:
        return Picture(thumbnail(decode(file.read_bytes()), THUMBNAIL))
    except (OSError, ImageError):  # it was there when it was answered
        return "gone"
