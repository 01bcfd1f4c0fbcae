"""Room to read: short functions with blank lines, few comprehensions, no long files. See CONTRIBUTING.md."""

import ast
import io
import statistics
import tokenize
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Reading:
    """What one file looks like to its reader."""

    path: Path
    lines: int
    function_lengths: list[int]
    lines_inside: int
    resting_lines: int
    comprehensions: int


def reading(path: Path) -> Reading:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)

    comment_lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1].strip().startswith("#"):
            comment_lines.add(token.start[0])

    lengths = []
    inside = set()
    comprehensions = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lengths.append(node.end_lineno - node.lineno + 1)
            first_line = node.body[0].end_lineno + 1 if ast.get_docstring(node) is not None else node.body[0].lineno
            inside |= set(range(first_line, node.end_lineno + 1))
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            comprehensions += 1

    resting = {number for number in inside if not lines[number - 1].strip()} | (inside & comment_lines)
    return Reading(path, len(lines), lengths, len(inside), len(resting), comprehensions)


READINGS = [reading(path) for folder in ("components", "pipelines") for path in (ROOT / folder).rglob("*.py")]


def test_functions_are_short_enough_to_read_in_one_sitting():
    lengths = sorted(length for one in READINGS for length in one.function_lengths)
    assert statistics.median(lengths) <= 12
    assert lengths[int(0.9 * len(lengths))] <= 40


def test_functions_have_room():
    inside = sum(one.lines_inside for one in READINGS)
    resting = sum(one.resting_lines for one in READINGS)
    assert resting / inside >= 0.06


def test_comprehensions_are_few():
    lines = sum(one.lines for one in READINGS)
    comprehensions = sum(one.comprehensions for one in READINGS)
    assert 100 * comprehensions / lines <= 1.5


def test_no_file_is_long():
    assert [f"{one.path.relative_to(ROOT)}: {one.lines} lines" for one in READINGS if one.lines > 350] == []
