"""Describe the shapes that people drew on an image, convert them to a crack mask, and decide the label of a tile."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.data.manifest import CLASSES, CRACK, NO_CRACK
from components.shared.errors import InputError

# If at least this share of a tile's pixels is crack, the tile has the label crack. A tile without crack pixels has the
# label no_crack. A tile with a smaller share of crack pixels is left out, because neither label would be right.
SMALLEST_CRACK_SHARE = 0.005
_FRACTION_BITS = 4  # polygons are drawn with a precision of a sixteenth of a pixel
_FARTHEST = 2.0**24  # pixels; keeps OpenCV's integers from overflowing


@dataclass(frozen=True)
class Bitmap:
    """A run-length encoded mask.

    Attributes:
        counts: int64 (n,), lengths of runs of pixels. The runs are alternately outside and inside the shape; the first
            is outside.
        left, top, width, height: Place and size of the mask in the image, pixels.
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
        polygon: float (n, 2), x and y of the corners in pixels. (0, 0) is the upper left corner of the first pixel.
            For a box or a bitmap, these are the four corners of its rectangle. For a line, these are its points.
        is_box: True for a box. A box can be rotated. A box around a crack also contains pixels that are not crack.
        line_width: Width of a line in pixels; None if the shape is not a line.
        bitmap: The mask of a painted shape; None for all other shapes.
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
        name: Name of the image in the file of annotations, such as pier 1/IMG_1.jpg. In the format YOLO, it has no
            suffix.
        width, height: Size of the image in pixels. Both are None if the file does not contain the size. The coordinates
            of all shapes are then fractions of the image, 0 to 1, unless `is_in_pixels` is true.
        labels: Classes of the whole image, crack or no_crack, in the order of the file.
        shapes: What people drew. If there are no shapes and no labels, a person found nothing in the image.
        is_in_pixels: True if the coordinates are in pixels although the file does not store the size of the image.
        problem: Why the annotation cannot be used, and what to do; "" if it can be used.
    """

    name: str
    width: int | None
    height: int | None
    labels: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    is_in_pixels: bool = False
    problem: str = ""


def in_pixels(annotation: ImageAnnotation, width: int, height: int) -> ImageAnnotation:
    """Return the annotation with all coordinates in pixels. `width` and `height` are the image's size in pixels.

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
    if annotation.is_in_pixels:
        return replace(annotation, width=width, height=height)
    size = np.array([width, height])
    shapes = tuple(replace(shape, polygon=shape.polygon * size) for shape in annotation.shapes)
    return replace(annotation, width=width, height=height, shapes=shapes)


def crack_mask(annotation: ImageAnnotation, width: int, height: int) -> NDArray[np.bool_]:
    """Return the mask of all shapes with the label crack.

    A polygon marks the pixels inside and the pixels under its outline, so a crack that is thinner than a pixel is not
    lost. If a polygon crosses itself, the even-odd rule decides what is inside. An upright box marks the pixels whose
    centre is inside. Parts outside the image are ignored.

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
    """Return the label of a tile, 1 for crack and 0 for no_crack. `share` is the share of crack pixels in the tile.

    If `share` is above 0 but below `SMALLEST_CRACK_SHARE`, the result is None, and the tile is left out.
    """
    if share >= SMALLEST_CRACK_SHARE:
        return CRACK
    return NO_CRACK if share == 0 else None


def outside(shape: Shape, width: int, height: int) -> bool:
    """Return true if a part of the shape is more than one pixel outside the image.

    All coordinates of the shape are in pixels. `width` and `height` are the image's size in pixels.
    """
    lowest, highest = shape.polygon.min(0), shape.polygon.max(0)
    return bool((lowest < -1).any() or (highest > np.array([width, height]) + 1).any())


def crosses_itself(shape: Shape) -> bool:
    """Return true if two edges of a polygon cross. Edges that only touch do not count."""
    if shape.is_box or shape.bitmap is not None or shape.line_width is not None:
        return False

    first, second = shape.polygon, np.roll(shape.polygon, -1, axis=0)
    for number in range(len(first) - 2):
        others = slice(number + 2, None)
        a, b, c, d = first[number], second[number], first[others], second[others]
        sides_of_others = _side(a, b, c) * _side(a, b, d)
        own_sides = _side(c, d, a) * _side(c, d, b)
        if ((sides_of_others < 0) & (own_sides < 0)).any():
            return True
    return False


def corners(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    """Return the corners of an upright box, float (4, 2)."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def _side(start: NDArray, end: NDArray, point: NDArray) -> NDArray:
    """Return a number for each point: 1 on one side of a line, -1 on its other side, and 0 on the line.

    All arguments are (..., 2), x and y.
    """
    along, towards = end - start, point - start
    return np.sign(along[..., 0] * towards[..., 1] - along[..., 1] * towards[..., 0])


def _is_upright(polygon: NDArray[np.float64]) -> bool:
    return all(len(np.unique(axis)) == 2 for axis in polygon.T)


def _draw(mask: NDArray[np.uint8], shape: Shape) -> None:
    if shape.bitmap is not None:
        _draw_bitmap(mask, shape.bitmap)
        return
    if shape.is_box and _is_upright(shape.polygon):
        left, top = np.maximum(np.rint(shape.polygon.min(0)), 0).astype(int)
        right, bottom = np.maximum(np.rint(shape.polygon.max(0)), 0).astype(int)
        mask[top:bottom, left:right] = 1
        return

    # In OpenCV, (0, 0) is the centre of the first pixel. In a shape, it is the upper left corner of this pixel.
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
    """Mark the pixels whose centre is inside a polygon, by the even-odd rule.

    `cv2.fillPoly` would move the corners to whole rows of pixels. So it would miss pixels inside small polygons.
    """
    size = np.array(mask.shape[::-1])
    left, top = np.clip(np.floor(polygon.min(0)), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(polygon.max(0)), 0, size).astype(int)

    # In a row of pixels, the part between the first and the second crossing of the outline is inside, and so on.
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
