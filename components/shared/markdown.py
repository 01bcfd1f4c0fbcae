"""Write tables in Markdown."""

from collections.abc import Iterable, Sequence


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown, without a line break at the end."""
    rule = ["---"] * len(headers)
    return "\n".join(markdown_row(cells) for cells in (headers, rule, *rows))


def markdown_row(cells: Sequence[str]) -> str:
    """Return one row of a table on one line. A vertical bar in a cell is escaped, and line breaks become spaces."""
    escaped = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
