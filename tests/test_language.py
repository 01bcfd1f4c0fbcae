"""Words that CONTRIBUTING.md keeps out of what people read: docstrings, comments, messages, pages and documents."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each word is old, ambiguous, or a second name for a thing that has one already; the right side is what we write.
PLAIN = {
    r"mend(s|ed|ing)?": "fix",
    r"anew": "again",
    r"whoever": "name the actor: the caller, the next run",
    r"(for)?bears?|borne": "has, carries, supports",
    r"meanwhile": "in the meantime",
    r"thereby|hence|whence|lest|heeds?|heeded": "so, therefore",
    r"came of|comes of": "result of",
    r"held against": "compared with",
    r"tells? of|told of": "shows, reports",
    r"look-alikes?": "near duplicate",
    r"kin": "related images, group",
    r"pictures?": "photo, tile or image; a plot is a figure",
    r"(?<!there )(?<!There )(is|are) no (?!longer|more|less|other|use\b)(?=[a-z])": "is not a …",
}
FORBIDDEN = re.compile(rf"\b({'|'.join(PLAIN)})\b", re.IGNORECASE)

TEXTS = (
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "components").rglob("*.md"),
    *(ROOT / "manifests").rglob("*.md"),
    *(ROOT / "manifests").rglob("*.yaml"),
    *(ROOT / "pipelines" / "params").glob("*.yaml"),
    *(ROOT / "components").rglob("*.html"),
    ROOT / "Makefile",
)
CODE = (*(ROOT / "components").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py"))


def prose_of(path: Path) -> str:
    """Return the comments and strings of a Python file, with their line numbers kept. Return other files unchanged."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text

    lines = [""] * (text.count("\n") + 2)
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            for offset, part in enumerate(token.string.split("\n")):
                lines[token.start[0] - 1 + offset] += f" {part}"
    return "\n".join(lines)


@pytest.mark.parametrize("path", [*TEXTS, *CODE], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_people_read_plain_words(path):
    found = []
    for number, line in enumerate(prose_of(path).split("\n"), start=1):
        found += [f"line {number}: {match[0]!r} in {line.strip()[:90]!r}" for match in FORBIDDEN.finditer(line)]
    assert found == []


def test_a_forbidden_word_is_found():
    assert FORBIDDEN.search("whoever runs this") is not None
    assert FORBIDDEN.search("it is no calibration") is not None
    assert FORBIDDEN.search("There is no champion") is None
    assert FORBIDDEN.search("a kind of photo") is None
