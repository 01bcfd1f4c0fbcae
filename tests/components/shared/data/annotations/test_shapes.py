"""Masks of shapes, compared with the exact areas, and the label of a tile."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.data.annotations.shapes import (
    Bitmap,
    ImageAnnotation,
    Shape,
    corners,
    crack_mask,
    label_of_share,
    outside,
)
from components.shared.errors import InputError


def mask_of(*shapes: Shape, width: int | None = 40, height: int | None = 30) -> np.ndarray:
    return crack_mask(ImageAnnotation("a.jpg", width, height, shapes=shapes), 40, 30)


@settings(max_examples=50, deadline=None)
@given(left=st.integers(0, 39), top=st.integers(0, 29), width=st.integers(1, 60), height=st.integers(1, 60))
def test_a_box_marks_exactly_its_pixels(left, top, width, height):
    expected = np.zeros((30, 40), bool)
    expected[top : top + height, left : left + width] = True
    box = Shape("crack", corners(left, top, left + width, top + height), is_box=True)
    assert np.array_equal(mask_of(box), expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 30)), min_size=3, max_size=3))
def test_a_triangle_marks_the_pixels_inside_and_few_others(points):
    (ax, ay), (bx, by), (cx, cy) = points
    y, x = np.mgrid[:30, :40] + 0.5
    distances = []
    for px, py, qx, qy in ((ax, ay, bx, by), (bx, by, cx, cy), (cx, cy, ax, ay)):
        length = np.hypot(qx - px, qy - py) + 1e-9
        distances.append(((qx - px) * (y - py) - (qy - py) * (x - px)) / length)
    inside = (np.array(distances) > 0.1).all(0) | (np.array(distances) < -0.1).all(0)

    mask = mask_of(Shape("crack", np.array(points)))
    assert not (inside & ~mask).any()
    perimeter = np.hypot(*np.diff(np.array([*points, points[0]]), axis=0).T).sum()
    assert mask.sum() - inside.sum() <= 2.5 * perimeter + 4


def test_a_polygon_thinner_than_a_pixel_leaves_a_line():
    hairline = Shape("crack", np.array([[2.0, 5.2], [38.0, 5.4], [38.0, 5.6], [2.0, 5.4]]))
    mask = mask_of(hairline)
    assert mask[:, 3:37].any(axis=0).all()


def test_a_line_is_as_wide_as_stated():
    line = Shape("crack", np.array([[5.0, 15.0], [35.0, 15.0]]), line_width=5)
    assert mask_of(line)[:, 20].sum() == 5


def test_shapes_of_no_crack_mark_nothing():
    assert not mask_of(Shape("no_crack", corners(0, 0, 40, 30), is_box=True)).any()


@pytest.mark.parametrize("far", [-1e12, 1e12, 2.0**31])
def test_shapes_far_outside_the_image_are_cut(far):
    assert mask_of(Shape("crack", corners(0, 0, 20, 1e12), is_box=True)).sum() == 600
    assert mask_of(Shape("crack", np.array([[0.0, 0], [20, 0], [20, 30], [0, 30]]) + far)).sum() == 0
    assert outside(Shape("crack", corners(0, 0, 20, far)), 40, 30)
    assert not outside(Shape("crack", corners(0, 0, 40, 30)), 40, 30)


@pytest.mark.parametrize("by_columns", [False, True])
def test_a_bitmap_lies_where_its_rectangle_is(by_columns):
    painted = np.random.default_rng(1).random((7, 9)) < 0.5
    flat = (painted.T if by_columns else painted).ravel()
    changes = np.flatnonzero(np.diff(flat.astype(int), prepend=0))
    counts = np.diff([0, *changes, flat.size])
    bitmap = Bitmap(np.array(counts), 35, -3, 9, 7, by_columns)
    assert np.array_equal(bitmap.decode(), painted)

    mask = mask_of(Shape("crack", corners(35, -3, 44, 4), bitmap=bitmap))
    assert np.array_equal(mask[:4, 35:], painted[3:, :5])
    assert mask.sum() == painted[3:, :5].sum()


def test_fractions_are_fractions_of_the_image():
    box = Shape("crack", corners(0.25, 0.5, 0.5, 1), is_box=True)
    mask = mask_of(box, width=None, height=None)
    assert mask[15:, 10:20].all()
    assert mask.sum() == 150


def test_an_annotation_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"the annotation of a\.jpg was made for 80x60 pixels, but the image is 40x30"):
        mask_of(width=80, height=60)


def test_the_label_of_a_tile_follows_from_the_share_of_crack_pixels():
    assert label_of_share(0) == 0
    assert label_of_share(1e-9) is None
    assert label_of_share(0.00499) is None
    assert label_of_share(0.005) == 1
    assert label_of_share(1) == 1
