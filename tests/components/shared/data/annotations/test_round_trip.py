"""The same shapes through every format: the same mask in pixels comes back."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.data.annotations.reading import read_annotations
from components.shared.data.annotations.run_lengths import DamagedMaskError, decode_alpha
from components.shared.data.annotations.shapes import ImageAnnotation, Shape, crack_mask
from components.shared.data.annotations.yolo import read_yolo

WIDTH, HEIGHT = 80, 60
NAME = "Brücke 1/IMG+1.jpg"


class Drawn(NamedTuple):
    """A shape as a person drew it: a box (left, top, width, height) with an angle, or corners, or painted pixels."""

    box: tuple[int, int, int, int] | None = None
    degrees: float = 0
    corners: tuple[tuple[float, float], ...] = ()
    painted: np.ndarray | None = None


RNG = np.random.default_rng(7)
BOX = Drawn(box=(8, 6, 32, 12))
TURNED = Drawn(box=(40, 12, 24, 12), degrees=30)
POLYGON = Drawn(corners=((4, 6), (72, 9), (76, 54), (40, 30), (8, 57)))
CROSSING = Drawn(corners=((8, 6), (72, 54), (72, 6), (8, 54)))
OUTSIDE = Drawn(corners=((-8, -6), (40, -6), (88, 66), (40, 30)))
HAIRLINE = Drawn(corners=((4, 6), (76, 54), (76, 54.3), (4, 6.3)))
BRUSH = Drawn(painted=RNG.random((HEIGHT, WIDTH)) < 0.3)
FULL, CORNER = Drawn(painted=np.ones((HEIGHT, WIDTH), bool)), Drawn(painted=np.eye(HEIGHT, WIDTH) > 0)


def corners_of(drawn: Drawn) -> np.ndarray:
    """Compute with complex numbers the corners of a box that is turned clockwise around its left upper corner."""
    left, top, width, height = drawn.box
    turn = np.exp(1j * np.radians(drawn.degrees))
    places = [left + 1j * top + turn * step for step in (0, width, width + 1j * height, 1j * height)]
    return np.array([[place.real, place.imag] for place in places])


def expected(drawn: Drawn) -> np.ndarray:
    if drawn.painted is not None:
        return drawn.painted
    if drawn.box and not drawn.degrees:
        left, top, width, height = drawn.box
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[top : top + height, left : left + width] = True
        return mask
    corners = corners_of(drawn) if drawn.box else np.array(drawn.corners)
    return crack_mask(ImageAnnotation(NAME, WIDTH, HEIGHT, shapes=(Shape("crack", corners),)), WIDTH, HEIGHT)


def runs_of(flat: np.ndarray) -> list[int]:
    """Return the lengths of runs: pixels outside the shape, then inside, then outside again. The first may be 0."""
    runs, inside = [0], False
    for pixel in flat.tolist():
        if pixel != inside:
            runs.append(0)
            inside = not inside
        runs[-1] += 1
    return runs


def packed(values: list[int]) -> list[int]:
    """Pack values as rle-pack does: runs of equal values as one value, all others one by one."""
    text = f"{len(values):032b}{7:05b}" + "".join(f"{bits - 1:04b}" for bits in (3, 4, 8, 16))
    start = 0
    while start < len(values):
        end = start
        while end < len(values) and values[end] == values[start] and end - start < 2**16:
            end += 1
        if end - start == 1:
            while end < len(values) and values[end] != values[end - 1] and end - start < 8:
                end += 1
            text += "000" + f"{end - start - 1:03b}" + "".join(f"{value:08b}" for value in values[start:end])
        else:
            width = next(bits for bits in (3, 4, 8, 16) if end - start <= 2**bits)
            text += "1" + f"{(3, 4, 8, 16).index(width):02b}" + f"{end - start - 1:0{width}b}{values[start]:08b}"
        start = end
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


def coloured(mask: np.ndarray) -> list[int]:
    """The values of a brush layer: red, green, blue and alpha of each pixel, along the rows."""
    pixels = np.zeros((*mask.shape, 4), int)
    pixels[mask] = (255, 0, 76, 51)
    return pixels.ravel().tolist()


def coco(folder: Path, drawn: Drawn) -> ImageAnnotation:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0}
    if drawn.painted is not None:
        annotation["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": runs_of(drawn.painted.T.ravel())}
    elif drawn.box and not drawn.degrees:
        annotation["bbox"] = drawn.box
    else:
        corners = corners_of(drawn) if drawn.box else np.array(drawn.corners)
        annotation["segmentation"] = [corners.ravel().tolist()]
    image = {"id": 1, "file_name": NAME, "width": WIDTH, "height": HEIGHT}
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "crack"}]}
    return only(folder / "a.json", json.dumps(content))


def cvat(folder: Path, drawn: Drawn) -> ImageAnnotation:
    if drawn.painted is not None:
        runs = ", ".join(map(str, runs_of(drawn.painted.ravel())))
        shape = f'<mask label="crack" rle="{runs}" left="0" top="0" width="{WIDTH}" height="{HEIGHT}"/>'
    elif drawn.box:
        _, _, width, height = drawn.box
        x, y = corners_of(drawn).mean(axis=0)  # CVAT turns a box around its middle
        edges = f'xtl="{x - width / 2}" ytl="{y - height / 2}" xbr="{x + width / 2}" ybr="{y + height / 2}"'
        shape = f'<box label="crack" {edges} rotation="{drawn.degrees}"/>'
    else:
        shape = f'<polygon label="crack" points="{";".join(f"{x},{y}" for x, y in drawn.corners)}"/>'
    image = f'<image name="{NAME}" width="{WIDTH}" height="{HEIGHT}">{shape}</image>'
    return only(folder / "a.xml", f"<annotations>{image}</annotations>")


def label_studio(folder: Path, drawn: Drawn) -> ImageAnnotation:
    if drawn.painted is not None:
        kind, value = "brushlabels", {"format": "rle", "rle": packed(coloured(drawn.painted))}
    elif drawn.box:
        left, top, width, height = drawn.box
        kind = "rectanglelabels"
        value = {"x": left / WIDTH * 100, "y": top / HEIGHT * 100, "rotation": drawn.degrees}
        value |= {"width": width / WIDTH * 100, "height": height / HEIGHT * 100}
    else:
        kind, value = "polygonlabels", {"points": [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in drawn.corners]}
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    result = {"type": kind, **size, "value": {**value, kind: ["crack"]}}
    task = {"id": 1, "data": {"image": f"/data/local-files/?d={quote(NAME)}"}, "annotations": [{"result": [result]}]}
    return only(folder / "a.json", json.dumps([task]))


def yolo(folder: Path, drawn: Drawn) -> ImageAnnotation:
    if drawn.box and not drawn.degrees:
        left, top, width, height = drawn.box
        values = [(left + width / 2) / WIDTH, (top + height / 2) / HEIGHT, width / WIDTH, height / HEIGHT]
    else:
        corners = corners_of(drawn) if drawn.box else np.array(drawn.corners)
        values = (corners / (WIDTH, HEIGHT)).ravel().tolist()
    (folder / "a.txt").write_text(f"0 {' '.join(map(repr, map(float, values)))}\n")
    return read_yolo(folder / "a.txt", NAME, {0: "crack"})


def table(folder: Path, drawn: Drawn) -> ImageAnnotation:
    row = {"photo": NAME, "class": "crack"}
    if drawn.box and not drawn.degrees:
        left, top, width, height = drawn.box
        row |= {"left": left, "top": top, "right": left + width, "bottom": top + height}
    else:
        corners = corners_of(drawn) if drawn.box else drawn.corners
        row["polygon"] = ", ".join(f"{x!r} {y!r}" for x, y in np.array(corners).tolist())
    with open(folder / "a.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["photo", "class", "left", "top", "right", "bottom", "polygon"])
        writer.writeheader()
        writer.writerow(row)
    return only(folder / "a.csv")


def only(path: Path, content: str | None = None) -> ImageAnnotation:
    if content is not None:
        path.write_text(content, encoding="utf-8")
    [annotation] = read_annotations(path)
    return annotation


PAINTED = [BRUSH, FULL, CORNER]
AREAS = [BOX, TURNED, POLYGON, CROSSING, OUTSIDE, HAIRLINE]
WAYS = [
    *((write, drawn) for write in (coco, cvat, label_studio) for drawn in (*AREAS, *PAINTED)),
    *((write, drawn) for write in (yolo, table) for drawn in AREAS),
]


@pytest.mark.parametrize(("write", "drawn"), WAYS)
def test_the_same_mask_comes_back(tmp_path: Path, write: Callable, drawn: Drawn) -> None:
    annotation = write(tmp_path, drawn)
    assert annotation.name == NAME
    mask = crack_mask(annotation, WIDTH, HEIGHT)
    assert mask.any()
    assert np.array_equal(mask, expected(drawn))
    assert any(shape.is_box for shape in annotation.shapes) == (drawn.box is not None and write in box_formats(drawn))


def box_formats(drawn: Drawn) -> tuple:
    """Return the formats that store this shape as a box. The other formats store a turned box as a polygon."""
    return (cvat, label_studio) if drawn.degrees else (coco, cvat, label_studio, yolo, table)


def test_a_crossing_polygon_has_the_even_odd_area(tmp_path: Path) -> None:
    mask = crack_mask(coco(tmp_path, CROSSING), WIDTH, HEIGHT)
    assert not mask[10, 40]  # above the crossing
    assert mask[30, 12]
    assert mask[30, 68]


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.data())
def test_a_brush_layer_is_decoded(width: int, height: int, data: st.DataObject) -> None:
    values = data.draw(
        st.lists(st.sampled_from([0, 0, 0, 1, 255]), min_size=4 * width * height, max_size=4 * width * height)
    )
    painted = np.array(values).reshape(height, width, 4)[..., 3] > 0
    assert np.array_equal(decode_alpha(bytes(packed(values)), width, height), painted)


def test_a_long_run_of_a_brush_layer_is_decoded() -> None:
    mask = np.zeros((300, 250), bool)  # 300,000 values, more than a run can have
    mask[299, 249] = True
    assert np.array_equal(decode_alpha(bytes(packed(coloured(mask))), 250, 300), mask)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it ends too early"),
        (bytes(packed([0] * 16)), "it has 16 values of 8 bits, but an image of 3x2 pixels has 24 values of 8 bits"),
        (bytes(packed(list(range(24))))[:-3], "it ends too early"),
        (bytes(packed([0] * 32)).replace(bytes([0, 0, 0, 32]), bytes([0, 0, 0, 24]), 1), "more than 24 values"),
    ],
)
def test_a_damaged_brush_layer_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DamagedMaskError, match=message):
        decode_alpha(data, 3, 2)


def test_a_table_without_the_size_of_the_photo_is_in_pixels(tmp_path: Path) -> None:
    annotation = replace(table(tmp_path, BOX), name="a")
    assert crack_mask(annotation, 200, 100).sum() == 32 * 12
