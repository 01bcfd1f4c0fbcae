"""The marks that a person made on a tile in an annotation program, and the answer that these marks mean."""

from dataclasses import dataclass, field

from components.shared.data.annotations.shapes import (
    SMALLEST_CRACK_SHARE,
    ImageAnnotation,
    crack_mask,
    label_of_share,
)
from components.shared.data.manifest import CLASSES
from pipelines.review.answers import Given, checked_word

WHOLE_TILE = 0.999  # a box that covers at least this share of a tile is about the tile, not about a place in it
# If coordinates are fractions of the tile, shapes are drawn on a tile of this size. Only the share of crack matters.
SIDE = 1024


@dataclass
class Marks:
    """The marks on one tile.

    Attributes:
        tile: The tile's sample_id. If several people marked a tile, there is one `Marks` for each of them.
        where: The place in the file. Error messages begin with it.
        words: Classes of the whole tile, as a person or program wrote them.
        drawn: The annotation with the shapes on the tile. Without shapes, it is None, or its `shapes` is empty.
    """

    tile: str
    where: str
    words: list[str] = field(default_factory=list)
    drawn: ImageAnnotation | None = None


def answers_of(tiles: list[Marks], unmarked: str | None) -> Given:
    """Return the answers that the marks mean.

    If the whole tile has a class, this class is the answer. Otherwise, `label_of_share` computes the answer from the
    share of pixels that the shapes mark as crack. A training tile with a mask gets its label in the same way. If
    the share fits neither label, `left_out` of the result names the tile. A tile without any mark gets the answer
    `unmarked`. If `unmarked` is None, such a tile has no answer.

    Raises:
        InputError: A class is unknown, or a tile has two different answers.
    """
    given = Given()
    for marks in tiles:
        words = [checked_word(word, marks.where) for word in marks.words]
        for word in words:
            given.add(marks.tile, word, marks.where)
        if marks.drawn is not None and marks.drawn.shapes:
            _add_drawn(given, marks, marks.drawn, words)
        elif not words:
            given.add(marks.tile, unmarked, marks.where)
    given.unanswered -= given.answers.keys()
    return given


def _add_drawn(given: Given, marks: Marks, drawn: ImageAnnotation, words: list[str]) -> None:
    """Turn the drawn shapes of a tile into an answer, and add it to `given`.

    If the tile also has a class, the shapes are only compared with this class. If the class is no_crack, but the shapes
    mark a crack, `InputError` is raised.
    """
    share = float(crack_mask(drawn, drawn.width or SIDE, drawn.height or SIDE).mean())
    label = label_of_share(share)
    if label is None and not words:
        given.left_out.append(
            f"{marks.where}: {share:.2%} of the pixels are marked as crack, which is more than none and less than "
            f"{SMALLEST_CRACK_SHARE:.1%}, so neither label is right"
        )
    elif label is not None and (not words or (share > 0 and words[0] in CLASSES)):
        given.add(marks.tile, CLASSES[label], marks.where)
