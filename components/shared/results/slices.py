"""A slice: the part of a split that a number was measured on, such as one surface or one corruption."""

import re
from dataclasses import dataclass
from typing import Any

from components.shared.errors import InputError

WHOLE_TEXT = "all"
PAIR = re.compile(r"(?:[^\\,]|\\.)+")  # up to the next comma that has no backslash in front of it


@dataclass(frozen=True)
class Slice:
    """A part of a split, as columns and the value that each of them has there.

    Its text is "all" for the whole split, and otherwise the pairs, such as "corruption=blur,severity=3". A comma or a
    backslash inside a value is written with a backslash in front.

    Attributes:
        pairs: (column, value), in order; empty for the whole split.
    """

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, **values: Any) -> "Slice":
        """Return the slice of these columns and values, such as `Slice.of(surface="wall")`; values become text."""
        return cls(tuple((column, str(value)) for column, value in values.items()))

    @classmethod
    def parse(cls, text: str) -> "Slice":
        """Return the slice that a text names; the opposite of `str`.

        Raises:
            InputError: A part of the text is not `column=value`.
        """
        if text == WHOLE_TEXT:
            return cls()

        pairs = []
        for part in PAIR.findall(text) or [text]:
            column, equals, value = part.partition("=")
            if not column or not equals:
                raise InputError(f'"{text}" is not a slice; write "all" or column=value, such as surface=wall')
            pairs.append((column, re.sub(r"\\(.)", r"\1", value)))
        return cls(tuple(pairs))

    def get(self, column: str) -> str | None:
        """Return a column's value, None where the slice does not name the column."""
        return dict(self.pairs).get(column)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the slice names, in order."""
        return tuple(dict(self.pairs))

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        if not self.pairs:
            return WHOLE_TEXT
        return ",".join(f"{column}={_escaped(value)}" for column, value in self.pairs)


WHOLE = Slice()
SEEN = Slice.of(corruption="seen")
UNSEEN = Slice.of(corruption="unseen")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")
