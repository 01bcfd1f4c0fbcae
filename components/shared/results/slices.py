"""Name the part of a split on which a number was measured, such as the tiles of one surface or one corruption."""

import re
from dataclasses import dataclass
from typing import Any

from components.shared.errors import InputError

WHOLE_TEXT = "all"
PAIR = re.compile(r"(?:[^\\,]|\\.)+")  # ends before the next comma that has no backslash in front of it


@dataclass(frozen=True)
class Slice:
    """A part of a split, such as all rows that have the value "wall" in the column "surface".

    As text, the whole split is "all". Any other slice is the list of its pairs, such as "corruption=blur,severity=3". A
    comma or a backslash inside a value is written with a backslash in front.

    Attributes:
        pairs: (column, value) for each column, in order. The slice contains the rows that have all these values. If
            there are no pairs, the slice is the whole split.
    """

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, **values: Any) -> "Slice":
        """Return the slice with these columns and values, such as `Slice.of(surface="wall")`. Values become text."""
        return cls(tuple((column, str(value)) for column, value in values.items()))

    @classmethod
    def parse(cls, text: str) -> "Slice":
        """Return the slice that a text such as "surface=wall" describes. This is the inverse of `str`.

        Raises:
            InputError: A part of the text does not have the form `column=value`.
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
        """Return the value of a column, such as "wall"; None if the slice does not contain the column."""
        return dict(self.pairs).get(column)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of the slice's pairs, in order."""
        return tuple(dict(self.pairs))

    def __str__(self) -> str:
        """Return the text from which `parse` builds the same slice."""
        if not self.pairs:
            return WHOLE_TEXT
        return ",".join(f"{column}={_escaped(value)}" for column, value in self.pairs)


WHOLE = Slice()
SEEN = Slice.of(corruption="seen")
UNSEEN = Slice.of(corruption="unseen")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")
