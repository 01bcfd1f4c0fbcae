"""Describe what people drew on an image, turn it into a mask of the cracks, and decide the label of a tile."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.data.manifest import CLASSES, CRACK, NO_CRACK
from components.shared.errors import InputError

# A tile shows a crack if at least this share of its pixels is crack. A tile without any crack pixel shows none. A tile
# in between is left out, because neither label would be right.
SMALLEST_CRACK_SHARE = 0.005
_FRACTION_BITS = 4  # polygons are drawn to a sixteenth of a pixel
_FARTHEST = 2.0**24  # pixels; keeps OpenCV's integers from overflowing


@dataclass(frozen=True)
class Bitmap:
    """A run-length encoded mask.

    Attributes:
        counts: int64 (n,), lengths of runs of pixels, in turn outside and inside the shape. The first run is outside.
        left, top, width, height: The rectangle of the image that the mask describes, pixels.
        by_columns: True if the runs go down the columns, false if they go along the rows.
    """

    counts: NDArray[np.int64]
    left: int
    top: int
    width: int
    height: int
    by_columns: bool = False

    def decode(self) -> NDArray[np.bool_]:
        """Return the mask, bool (height, width)."""
        inside = np.arange(len(self.counts)) % 2 == 1
        flat = np.repeat(inside, self.counts)
        if self.by_columns:
            return flat.reshape(self.width, self.height).T
        return flat.reshape(self.height, self.width)


@dataclass(frozen=True)
class Shape:
    """One thing that a person drew.

    Attributes:
        label: crack or no_crack.
        polygon: float (n, 2), x and y of the corners in pixels, from the outer corner of the first pixel; the four
            corners of a box or of the rectangle of a bitmap; the points of a line.
        is_box: True for an upright box, whose pixels are not all crack.
        line_width: Width of a line in pixels; None for an area.
        bitmap: The mask, for a shape that was painted.
    """

    label: str
    polygon: NDArray[np.float64]
    is_box: bool = False
    line_width: float | None = None
    bitmap: Bitmap | None = None


@dataclass(frozen=True)
class ImageAnnotation:
    """What a file of annotations says about one image.

    Attributes:
        name: The image as the file names it, such as pier 1/IMG_1.jpg. The format YOLO gives no suffix.
        width, height: Pixels. Both are None if the format does not store them. The coordinates of all shapes are then
            fractions of the image, 0 to 1.
        labels: Classes of the whole image, crack or no_crack, in the order of the file.
        shapes: What people drew. If there are no shapes and no labels, a person saw the image and found nothing.
    """

    name: str
    width: int | None
    height: int | None
    labels: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()


def in_pixels(annotation: ImageAnnotation, width: int, height: int) -> ImageAnnotation:
    """Return the annotation with coordinates in pixels of an image of this size.

    Raises:
        InputError: The annotation was made for an image of another size.
    """
    if annotation.width is not None:
        if (annotation.width, annotation.height) != (width, height):
            raise InputError(
                f"the annotation of {annotation.name} was made for {annotation.width}x{annotation.height} pixels, but "
                f"the image is {width}x{height}; annotate the image itself"
            )
        return annotation
    size = np.array([width, height])
    shapes = tuple(replace(shape, polygon=shape.polygon * size) for shape in annotation.shapes)
    return replace(annotation, width=width, height=height, shapes=shapes)


def crack_mask(annotation: ImageAnnotation, width: int, height: int) -> NDArray[np.bool_]:
    """Return the mask of all shapes with the label crack.

    A polygon marks the pixels inside and those under its outline, so a hairline crack that is thinner than a pixel is
    not lost. A box marks the pixels whose middle is inside. Parts outside the image are ignored.

    Args:
        annotation: The annotation.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        bool (height, width), true on the cracks.

    Raises:
        InputError: The annotation was made for an image of another size.
    """
    mask = np.zeros((height, width), np.uint8)
    for shape in in_pixels(annotation, width, height).shapes:
        if shape.label == CLASSES[CRACK]:
            _draw(mask, shape)
    return mask.astype(bool)


def label_of_share(share: float) -> int | None:
    """Return the label of a tile from the share of its pixels that are crack: 1 crack, 0 no_crack.

    None means that the tile is left out: it has some crack pixels, but fewer than `SMALLEST_CRACK_SHARE`.
    """
    if share >= SMALLEST_CRACK_SHARE:
        return CRACK
    return NO_CRACK if share == 0 else None


def outside(shape: Shape, width: int, height: int) -> bool:
    """Return true if a part of the shape is more than a pixel outside an image of this size, in pixels."""
    lowest, highest = shape.polygon.min(0), shape.polygon.max(0)
    return bool((lowest < -1).any() or (highest > np.array([width, height]) + 1).any())


def corners(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    """Return the corners of an upright box, float (4, 2)."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def _draw(mask: NDArray[np.uint8], shape: Shape) -> None:
    if shape.bitmap is not None:
        _draw_bitmap(mask, shape.bitmap)
        return
    if shape.is_box:
        left, top = np.maximum(np.rint(shape.polygon.min(0)), 0).astype(int)
        right, bottom = np.maximum(np.rint(shape.polygon.max(0)), 0).astype(int)
        mask[top:bottom, left:right] = 1
        return

    # In OpenCV, (0, 0) is the middle of the first pixel; here it is its outer corner.
    moved = np.clip(shape.polygon - 0.5, -_FARTHEST, _FARTHEST)
    points = np.rint(moved * 2**_FRACTION_BITS).astype(np.int32)
    if shape.line_width is None:
        _fill(mask, shape.polygon)
        cv2.polylines(mask, [points], True, 1, shift=_FRACTION_BITS)
    else:
        others = np.ones_like(mask)
        cv2.polylines(others, [points], False, 0, shift=_FRACTION_BITS)
        distance = cv2.distanceTransform(others, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        mask[distance <= shape.line_width / 2] = 1


def _fill(mask: NDArray[np.uint8], polygon: NDArray[np.float64]) -> None:
    """Mark the pixels whose middle is inside a polygon, by the even-odd rule.

    `cv2.fillPoly` rounds corners to rows, so it misses pixels that are inside small polygons.
    """
    size = np.array(mask.shape[::-1])
    left, top = np.clip(np.floor(polygon.min(0)), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(polygon.max(0)), 0, size).astype(int)

    # Between two crossings of an outline, a row is inside.
    crossings = np.zeros((bottom - top, right - left + 1), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        first, last = np.clip(np.ceil(np.sort([y0, y1]) - 0.5), top, bottom).astype(int)
        rows = np.arange(first, last)
        if len(rows):
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            columns = np.clip(np.ceil(x - 0.5), left, right).astype(int)
            crossings[rows - top, columns - left] ^= True
    mask[top:bottom, left:right] |= np.logical_xor.accumulate(crossings, axis=1)[:, :-1]


def _draw_bitmap(mask: NDArray[np.uint8], bitmap: Bitmap) -> None:
    height, width = mask.shape
    top, left = max(bitmap.top, 0), max(bitmap.left, 0)
    bottom, right = min(bitmap.top + bitmap.height, height), min(bitmap.left + bitmap.width, width)
    if top < bottom and left < right:
        rows = slice(top - bitmap.top, bottom - bitmap.top)
        columns = slice(left - bitmap.left, right - bitmap.left)
        mask[top:bottom, left:right] |= bitmap.decode()[rows, columns]
