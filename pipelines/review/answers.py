"""Read a file of answers from people or programs: the answered tiles, and what each of these tiles shows."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from components.shared.data.class_names import class_of_label, simple_name
from components.shared.data.corrections import BAD_IMAGE
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from pipelines.review.queue import TILE_ID

UNSURE = "unsure"
WORDS = (*CLASSES, BAD_IMAGE, UNSURE)
DELIMITERS = ",;\t"


@dataclass
class Given:
    """The answers in a file.

    Attributes:
        answers: sample_id of the tile (the sha256 of its file) -> crack, no_crack, bad image or unsure.
        unanswered: sample_ids of the tiles that are in the file without an answer.
        left_out: One text for each place in the file that gives no answer. The text names the place and the reason.
    """

    answers: dict[str, str] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def add(self, tile: str, answer: str | None, where: str) -> None:
        """Add what the file says about a tile.

        Args:
            tile: The tile's sample_id.
            answer: One of WORDS; None if the file has the tile without an answer.
            where: The place in the file. The error message begins with it.

        Raises:
            InputError: The file gives the tile two different answers.
        """
        if answer is None:
            self.unanswered.add(tile)
            return
        known = self.answers.setdefault(tile, answer)
        if known != answer:
            raise InputError(
                f"{where}: the tile {tile} has two answers, {known} and {answer}; keep one of them in the file"
            )


def word_of(text: str) -> str | None:
    """Return the answer that a word means, such as no_crack for "Non-cracked". Return None for an unknown word."""
    simple = simple_name(text)
    for word in (BAD_IMAGE, UNSURE):
        if simple == simple_name(word):
            return word
    label = class_of_label(text)
    return None if label is None else CLASSES[label]


def checked_word(text: str, where: str) -> str:
    """Return the answer that a word means.

    Raises:
        InputError: The word is unknown. The message begins with `where`, the place in the file.
    """
    word = word_of(text)
    if word is None:
        raise InputError(f"{where}: the answer is {text!r}; write {', '.join(WORDS[:-1])} or {WORDS[-1]}")
    return word


def tile_of(names: Iterable[str], where: str) -> str:
    """Return the sample_id of the tile that a file name or path contains.

    Args:
        names: File names and other texts. The first text that contains a sample_id counts.
        where: The place in the file. The error message begins with it.

    Raises:
        InputError: No text contains a sample_id.
    """
    names = [name for name in names if name]
    for name in names:
        found = TILE_ID.findall(name)
        if found:
            return found[-1]
    raise InputError(
        f"{where}: {names[0] if names else ''!r} does not name a tile; use the tile's sample_id, which has 64 "
        "hexadecimal characters. `review queue` wrote it into the file names in its folder `tiles`"
    )


def read_csv(path: Path, text: str) -> Given:
    """Read answers from CSV with the columns tile and answer; other columns are ignored.

    The separator is a comma, a semicolon or a tab. The column tile has sample_ids, or texts that contain a sample_id.

    Raises:
        InputError: A column is missing, a word is unknown, a row names no tile, or a tile has two different answers.
    """
    first_line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = [name.strip() for name in reader.fieldnames or []]
    missing = [name for name in ("tile", "answer") if name not in columns]
    if missing:
        raise InputError(
            f"{path} lacks the column {' and the column '.join(missing)}; it has {', '.join(columns)}. Give the CSV "
            "that the review page saved, or queue.csv with an added column answer"
        )

    given = Given()
    reader.fieldnames = columns
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        tile = tile_of([row["tile"] or ""], where)
        answer = (row["answer"] or "").strip()
        given.add(tile, checked_word(answer, where) if answer else None, where)
    return given
