"""Write pages for people. A page is one HTML document that can be read on a phone, on paper and in the dark.

A page loads no other file. It contains its styles, and its images are data URIs. The HTML is in `templates/`.
"""

import base64
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
JPEG_START = b"\xff\xd8"
# A number, which may have an interval and a dagger after it.
NUMBER_CELL = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%)?( \[.*\])?( †)?|nan|-|")
LONGEST_UNBROKEN_CELL = 24  # characters


@dataclass(frozen=True)
class Badge:
    """A result in a table cell: a word in green if `passed` is true, and in red if it is false."""

    passed: bool
    text: str = ""

    def __html__(self) -> str:
        """Return the badge as HTML. jinja2 and markupsafe call this."""
        word = self.text or ("passed" if self.passed else "failed")
        sign = "✓" if self.passed else "✗"
        return _parts().badge(sign, word, _style(self.passed))


@dataclass(frozen=True)
class CellImage:
    """An image in a table cell: the bytes of a JPEG file. `alt` says what it shows, for people who cannot see it."""

    jpeg: bytes
    alt: str = ""

    def __html__(self) -> str:
        """Return the image as HTML. jinja2 and markupsafe call this."""
        return _parts().cell_image(data_uri(self.jpeg), self.alt)


@dataclass(frozen=True)
class Heading:
    """A heading of the page. `level` is 2 to 4, and links to the heading use `anchor`."""

    level: int
    anchor: str
    text: str


class Page:
    """A document built from top to bottom. Every method except `write` appends to it."""

    def __init__(self, title: str):
        """Start a page. `title` is its heading and the browser's title."""
        self.title = title
        self._body: list[str] = []
        self._headings: list[Heading] = []
        self._contents_at: int | None = None
        self._has_folds = False

    def text(self, markdown: str) -> None:
        """Append paragraphs, lists and tables written in Markdown. HTML in the Markdown is shown as text."""
        self._body.append(_markdown().render(markdown))

    def heading(self, text: str, level: int = 2) -> str:
        """Append a heading of level 2 to 4 and return its anchor, which is unique in the page."""
        heading = self._new_heading(text, level)
        self._body.append(_parts().heading(text, level, heading.anchor))
        return heading.anchor

    @contextmanager
    def fold(self, text: str, level: int = 2) -> Iterator[str]:
        """Append a heading and a section that the reader can open. The `with` block appends the section's content.

        Printing opens all sections. A link to a place inside a section opens that section.

        Yields:
            The heading's anchor, which is unique in the page.
        """
        heading = self._new_heading(text, level)
        self._has_folds = True
        self._body.append(_parts().fold(text, level, heading.anchor))
        yield heading.anchor
        self._body.append(_parts().end_of_fold())

    def contents(self) -> None:
        """Put the table of contents here. It links to all headings of level 2 and 3, also to later ones."""
        self._contents_at = len(self._body)

    def callout(self, markdown: str, passed: bool) -> None:
        """Append a box for the most important text. It is green if `passed` is true, and red if it is false."""
        body = Markup(_markdown().render(markdown))
        self._body.append(_parts().callout(body, _style(passed)))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> None:
        """Append a table.

        Args:
            headers: One text for each column.
            rows: Rows of cells. A cell is text, a number (a float is shown with four significant digits), a `Badge`, a
                `CellImage`, or None for an empty cell. A column that holds only numbers, with or without an
                interval, is aligned to the right.
            caption: A sentence that says what the table shows; empty if the heading says it already.
        """
        cells = [[_cell(value) for value in row] for row in rows]
        columns = list(zip(*cells, strict=True)) or [()] * len(headers)
        classes = list(map(_column_class, columns))
        self._body.append(_parts().table(headers, cells, classes, caption))

    def figure(self, figure: "Figure", caption: str, alt: str) -> None:
        """Append a matplotlib figure as an image. The same figure gives the same bytes."""
        buffer = BytesIO()
        # The software's version is removed, and no creation date is written, so equal figures give equal bytes.
        figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight", metadata={"Software": None})
        self.image(buffer.getvalue(), caption, alt)

    def image(self, data: bytes, caption: str, alt: str) -> None:
        """Append a PNG or JPEG file's bytes; `alt` says what the image shows, for people who cannot see it."""
        self._body.append(_parts().figure(data_uri(data), alt, caption))

    def html(self, raw: str) -> None:
        """Append HTML unchanged. The caller makes sure that the HTML is safe and loads no other file."""
        self._body.append(raw)

    def write(self, path: str | Path) -> None:
        """Write the document to a file, in UTF-8."""
        body = list(self._body)
        if self._contents_at is not None:
            body.insert(self._contents_at, _parts().contents(self._chapters()))

        document = templates(TEMPLATES).get_template("page.html")
        text = document.render(title=self.title, body=Markup("\n".join(body)), has_folds=self._has_folds)
        Path(path).write_text(text, encoding="utf-8")

    def _new_heading(self, text: str, level: int) -> Heading:
        slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
        taken = {heading.anchor for heading in self._headings}

        anchor = slug
        number = 1
        while anchor in taken:
            number += 1
            anchor = f"{slug}-{number}"

        heading = Heading(level, anchor, text)
        self._headings.append(heading)
        return heading

    def _chapters(self) -> list[list[Heading]]:
        """Return each heading of level 2 together with the headings of level 3 after it."""
        chapters: list[list[Heading]] = []
        for heading in self._headings:
            if heading.level == 2 or not chapters:
                chapters.append([heading])
            elif heading.level == 3:
                chapters[-1].append(heading)
        return chapters


def data_uri(image: bytes) -> str:
    """Return a PNG or JPEG file's bytes as a data URI, for the `src` of an image."""
    kind = "jpeg" if image.startswith(JPEG_START) else "png"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def main_of(path: str | Path) -> str:
    """Return the HTML inside a page's `<main>`, without the title. If there is no `<main>`, use `<body>` instead.

    Raises:
        ValueError: The file has neither `<main>` nor `<body>`.
    """
    document = Path(path).read_text(encoding="utf-8")
    for tag in ("main", "body"):
        start = re.search(rf"<{tag}\b[^>]*>", document)
        end = document.rfind(f"</{tag}>")
        if start and end > start.end():
            inside = document[start.end() : end]
            return re.sub(r"\A\s*<h1\b.*?</h1>\s*", "", inside, flags=re.DOTALL).strip()

    raise ValueError(f"{path} is not an HTML page: it has neither <main> nor <body>; repeat the step that wrote it")


@cache
def templates(folder: Path) -> Environment:
    """Return the Jinja templates of a folder. The templates escape all values that they insert."""
    return Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _parts() -> Any:
    """Return the macros of page_parts.html."""
    return templates(TEMPLATES).get_template("page_parts.html").module


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _style(passed: bool) -> str:
    return "pass" if passed else "fail"


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return value if hasattr(value, "__html__") else str(value)


def _column_class(cells: Sequence[Any]) -> str:
    """Return the CSS class of a column. Numbers are aligned to the right. Only long texts may have line breaks."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    all_texts = len(texts) == len(cells)

    if cells and all_texts and all(map(NUMBER_CELL.fullmatch, map(str.strip, texts))):
        return "number"
    if max(map(len, texts), default=0) > LONGEST_UNBROKEN_CELL:
        return "long"
    return "short"
