"""What an annotation program says about one tile, and the answer that this means."""

from dataclasses import dataclass, field

from pipelines.review.answers import Given, checked_word

WHOLE_TILE = 0.999  # a box that covers this share of a tile is about the tile, not about a place in it


@dataclass
class Marks:
    """The marks on one tile.

    Attributes:
        tile: The sample_id.
        where: The place in the file, for messages.
        words: Classes of the whole tile, as a person or program wrote them.
    """

    tile: str
    where: str
    words: list[str] = field(default_factory=list)


def answers_of(tiles: list[Marks], unmarked: str | None) -> Given:
    """Return the answers that the marks mean.

    A class of the whole tile is the answer. A tile without any mark has the answer `unmarked`; None means that nobody
    answered.

    Raises:
        InputError: A class is unknown, or a tile has two different answers.
    """
    given = Given()
    for marks in tiles:
        if not marks.words:
            given.add(marks.tile, unmarked, marks.where)
        for word in marks.words:
            given.add(marks.tile, checked_word(word, marks.where), marks.where)
    return given
