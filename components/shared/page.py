"""Pages for people: one self-contained HTML document, readable on a phone, on paper and in the dark.

A page loads nothing: styles stand inside it and pictures are data URIs.
"""

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%)?( \[.*\])?( †)?|nan|-|")  # an interval may stand behind it
_LONG = 24  # characters; longer cells may be broken into lines


@dataclass(frozen=True)
class Badge:
    """A verdict in a table cell: green where passed, red where not, with its word beside the colour."""

    passed: bool
    text: str = ""

    def __html__(self) -> str:
        """The badge as HTML; jinja2 and markupsafe call this."""
        word = self.text or ("passed" if self.passed else "failed")
        sign = "✓" if self.passed else "✗"
        return Markup('<span class="badge {}">{} {}</span>').format(_style(self.passed), sign, word)


@dataclass(frozen=True)
class Picture:
    """A JPEG file in a table cell; `alt` says what it shows to those who cannot see it."""

    jpeg: bytes
    alt: str = ""

    def __html__(self) -> str:
        """The picture as HTML; jinja2 and markupsafe call this."""
        data = base64.b64encode(self.jpeg).decode()
        return Markup('<img src="data:image/jpeg;base64,{}" alt="{}" loading="lazy">').format(data, self.alt)


class Page:
    """A document built from top to bottom; every method but `write` appends to it."""

    def __init__(self, title: str):
        """Start a page. `title` is its heading and the browser's title."""
        self.title = title
        self._parts: list[str] = []
        self._headings: list[tuple[int, str, str]] = []
        self._contents_at: int | None = None

    def text(self, markdown: str) -> None:
        """Append paragraphs, lists and tables written in Markdown; raw HTML in it is shown, not obeyed."""
        self._parts.append(_markdown().render(markdown))

    def heading(self, text: str, level: int = 2) -> str:
        """Append a heading of level 2 to 4 and return its anchor, unique in the page."""
        slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
        taken = {anchor for _, anchor, _ in self._headings}
        anchor = next(name for n in count(1) if (name := slug if n == 1 else f"{slug}-{n}") not in taken)
        self._headings.append((level, anchor, text))
        self._append('<h{{ level }} id="{{ anchor }}">{{ text }}</h{{ level }}>', level=level, anchor=anchor, text=text)
        return anchor

    def contents(self) -> None:
        """Put the table of contents here: links to all headings of level 2 and 3, those still to come included."""
        self._contents_at = len(self._parts)

    def callout(self, markdown: str, passed: bool) -> None:
        """Append what the reader must see first, set apart: green where `passed`, else red."""
        self._parts.append(f'<div class="callout {_style(passed)}">{_markdown().render(markdown)}</div>')

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> None:
        """Append a table.

        Args:
            headers: One per column.
            rows: Cells: text, numbers (floats are shown with four significant digits), `Badge`, `Picture`, or
                None for nothing.
                Columns whose cells are all numbers, with or without an interval, are aligned to the right.
            caption: What the table shows, where its heading does not say.
        """
        texts = [[_cell(value) for value in row] for row in rows]
        columns = list(zip(*texts, strict=True)) or [()] * len(headers)
        classes = [Markup(' class="{}"').format(_column_class(cells)) for cells in columns]
        self._append(_TABLE, headers=headers, rows=texts, caption=caption, classes=classes)

    def figure(self, figure: "Figure", caption: str, alt: str) -> None:
        """Append a matplotlib figure as a picture."""
        buffer = BytesIO()
        # No creation date and no software version: the same figure gives the same bytes.
        figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight", metadata={"Software": None})
        self.image(buffer.getvalue(), caption, alt)

    def image(self, png: bytes, caption: str, alt: str) -> None:
        """Append a PNG or JPEG file's bytes; `alt` says what the picture shows to those who cannot see it."""
        kind = "jpeg" if png[:2] == b"\xff\xd8" else "png"
        uri = f"data:image/{kind};base64,{base64.b64encode(png).decode()}"
        self._append(_FIGURE, uri=uri, caption=caption, alt=alt)

    def html(self, raw: str) -> None:
        """Append HTML as it is; the caller answers for its safety and for its loading nothing."""
        self._parts.append(raw)

    def write(self, path: str | Path) -> None:
        """Write the document, UTF-8."""
        parts = list(self._parts)
        if self._contents_at is not None:
            parts.insert(self._contents_at, _template(_CONTENTS).render(headings=self._headings))
        body = Markup("\n".join(parts))
        document = _template(_DOCUMENT).render(title=self.title, style=Markup(_STYLE), body=body)
        Path(path).write_text(document, encoding="utf-8")

    def _append(self, source: str, **values: Any) -> None:
        self._parts.append(_template(source).render(**values))


def main_of(path: str | Path) -> str:
    """The inside of a page's `<main>`, without its title; of any other HTML document, the inside of its body.

    Raises:
        ValueError: The file holds neither.
    """
    document = Path(path).read_text(encoding="utf-8")
    for tag in ("main", "body"):
        start = re.search(rf"<{tag}\b[^>]*>", document)
        end = document.rfind(f"</{tag}>")
        if start and end > start.end():
            inside = document[start.end() : end]
            return re.sub(r"\A\s*<h1\b.*?</h1>\s*", "", inside, flags=re.DOTALL).strip()
    raise ValueError(f"{path} is no HTML page: it has neither <main> nor <body>")


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
    if cells and all(isinstance(cell, str) and _NUMBER.fullmatch(cell.strip()) for cell in cells):
        return "number"
    return "long" if any(len(cell) > _LONG for cell in cells if isinstance(cell, str)) else "short"


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


@cache
def _template(source: str) -> Any:
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)


_TABLE = """\
<div class="scroll"><table>
{% if caption %}<caption>{{ caption }}</caption>{% endif %}
<thead><tr>
{% for text in headers %}<th scope="col"{{ classes[loop.index0] }}>{{ text }}</th>{% endfor %}
</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for text in row %}<td{{ classes[loop.index0] }}>{{ text }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>"""

_FIGURE = """\
<figure><img src="{{ uri }}" alt="{{ alt }}">
{% if caption %}<figcaption>{{ caption }}</figcaption>{% endif %}
</figure>"""

_CONTENTS = """\
<nav class="contents" aria-label="Contents"><ul>
{% for level, anchor, text in headings if level <= 3 %}
<li class="level{{ level }}"><a href="#{{ anchor }}">{{ text }}</a></li>
{% endfor %}
</ul></nav>"""

_DOCUMENT = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{{ body }}
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6875; --line: #dde3e9; --paper: #fff; --wash: #f5f7f9;
  --shade: #1d273326; --accent: #1f5f8b; --good: #14663c; --good-wash: #e2f3e9; --bad: #9b1c1c; --bad-wash: #fbe6e6; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e3e8ed; --soft: #9aa7b4; --line: #323c46;
  --paper: #14191e; --wash: #1c232a; --shade: #000c; --accent: #7db8e0; --good: #7fd6a4; --good-wash: #17342442;
  --bad: #f2a0a0; --bad-wash: #4a1f1f66; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.25; margin: 0 0 1.5rem; letter-spacing: -.01em; }
h2 { font-size: 1.4rem; margin: 3rem 0 .8rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.12rem; margin: 2.2rem 0 .6rem; }
h4, h5, h6 { font-size: 1rem; margin: 1.6rem 0 .4rem; color: var(--soft); }
p, li { max-width: 46rem; }
a { color: var(--accent); }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--wash); padding: 1rem; border-radius: 6px; }
blockquote { margin: 1rem 0; padding: .1rem 1.2rem; border-left: 3px solid var(--line); color: var(--soft); }
/* a shadow where a table goes on beyond the edge; the first two layers move with the table and cover it at its ends */
.scroll { overflow-x: auto; margin: 1rem 0 1.6rem; background:
  linear-gradient(to right, var(--paper) 40%, transparent) left / 2.5rem 100% local no-repeat,
  linear-gradient(to left, var(--paper) 40%, transparent) right / 2.5rem 100% local no-repeat,
  linear-gradient(to right, var(--shade), transparent) left / .8rem 100% no-repeat,
  linear-gradient(to left, var(--shade), transparent) right / .8rem 100% no-repeat; }
table { border-collapse: collapse; font-size: .92rem; line-height: 1.45; margin: 0; }
caption { caption-side: top; text-align: left; color: var(--soft); padding: 0 0 .5rem; }
th { text-align: left; vertical-align: bottom; font-weight: 600; color: var(--soft);
  border-bottom: 2px solid var(--line); }
td { vertical-align: top; border-bottom: 1px solid var(--line); }
th, td { padding: .45rem 1.1rem .45rem .2rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.number, .short { white-space: nowrap; }
td.long { min-width: 14rem; overflow-wrap: anywhere; }
.short:first-child { position: sticky; left: 0; background: var(--paper); }
tbody tr:hover, tbody tr:hover .short:first-child { background: var(--wash); }
figure { margin: 1.5rem 0 2rem; }
img { max-width: 100%; height: auto; display: block; background: #fff; border-radius: 4px; }
td img { min-width: 6rem; } /* else a narrow table shrinks it to nothing */
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; max-width: 46rem; }
.badge { white-space: nowrap; font-weight: 600; font-size: .85rem; padding: .1rem .55rem; border-radius: 999px; }
.pass { color: var(--good); background: var(--good-wash); }
.fail { color: var(--bad); background: var(--bad-wash); }
.callout { padding: .9rem 1.3rem; border-left: 5px solid; border-radius: 6px; margin: 0 0 1.8rem; }
.callout p { margin: .2rem 0; color: var(--ink); }
.callout p:first-child { font-size: 1.2rem; font-weight: 600; }
.contents ul { list-style: none; margin: 1.5rem 0; padding: 1rem 1.3rem; background: var(--wash); border-radius: 6px; }
.contents .level3 { padding-left: 1.3rem; font-size: .92rem; }
@media (max-width: 40rem) { main { padding: 1.4rem 1rem 3rem; } h1 { font-size: 1.5rem; } }
@media print { main { max-width: none; padding: 0; } body { font-size: 10.5pt; } .scroll { overflow: visible; }
  h2, h3, h4 { break-after: avoid; } figure, tr { break-inside: avoid; } a { color: inherit; } }
"""
