"""Read a file with answers, in whichever format it is."""

from pathlib import Path

from components.shared.errors import InputError
from pipelines.review.answers import Given, read_csv


def read_answers(path: Path, unmarked: str | None = None) -> Given:
    """Read a file with answers. Its content decides how it is read.

    Args:
        path: A CSV file.
        unmarked: What a tile shows that a file of shapes has without any shape or tag. None: it has no answer.

    Raises:
        InputError: The file does not exist, is empty, or cannot be read as any of the formats.
    """
    text = _text_of(path)
    return read_csv(path, text)


def _text_of(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; give the file with the answers") from error
    if not text.strip():
        raise InputError(f"{path} is empty; give the file with the answers")
    return text
