"""COCO files: polygons, boxes, run lengths, and what is wrong with a file."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.data.annotations.coco import read_coco
from components.shared.data.annotations.reading import read_annotations
from components.shared.data.annotations.shapes import crack_mask
from components.shared.errors import InputError

POLYGON = {"id": 7, "image_id": 1, "category_id": 3, "segmentation": [[10, 10, 20, 10, 20, 25]], "bbox": [0, 0, 1, 1]}
BOX = {"id": 8, "image_id": 1, "category_id": 3, "segmentation": [], "bbox": [2, 3, 5, 4]}


def coco(*annotations: Any, name: str = "Brücke 1/IMG+1.jpg", category: str = "Crack") -> dict[str, Any]:
    return {
        "images": [
            {"id": 1, "file_name": name, "width": 40, "height": 30},
            {"id": 2, "file_name": "empty.jpg", "width": 40, "height": 30},
        ],
        "annotations": list(annotations),
        "categories": [{"id": 3, "name": category}, {"id": 4, "name": "unused rust"}],
    }


def read(folder: Path, content: Any):
    path = folder / "coco.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return read_annotations(path)


def run_lengths(mask: np.ndarray) -> list[int]:
    flat = mask.T.ravel().astype(int)
    changes = np.flatnonzero(np.diff(flat, prepend=0))
    return np.diff([0, *changes, flat.size]).tolist()


def compressed(counts: list[int]) -> str:
    """Compress run lengths as `rleToString` of maskApi.c does."""
    characters = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != -1 if group & 0x10 else value != 0
            characters.append(chr((group | 0x20 if more else group) + 48))
    return "".join(characters)


def test_polygons_and_boxes(tmp_path):
    first, empty = read(tmp_path, coco(POLYGON, BOX))
    assert (first.name, first.width, first.height) == ("Brücke 1/IMG+1.jpg", 40, 30)
    assert [shape.label for shape in first.shapes] == ["crack", "crack"]
    assert first.shapes[0].polygon.tolist() == [[10, 10], [20, 10], [20, 25]]
    assert first.shapes[1].polygon.tolist() == [[2, 3], [7, 3], [7, 7], [2, 7]]
    assert (first.shapes[0].is_box, first.shapes[1].is_box) == (False, True)
    assert (empty.name, empty.shapes) == ("empty.jpg", ())


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=150, max_size=150), st.booleans())
def test_run_lengths_give_the_mask_that_was_encoded(data, compress):
    mask = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(30, 40).astype(bool)
    counts = run_lengths(mask)
    segmentation = {"size": [30, 40], "counts": compressed(counts) if compress else counts}
    annotation = {"id": 1, "image_id": 1, "category_id": 3, "segmentation": segmentation, "iscrowd": 1}
    first, _ = read_coco(Path("coco.json"), coco(annotation))
    assert np.array_equal(crack_mask(first, 40, 30), mask)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (coco(POLYGON, category="Riss"), "unknown class 'Riss'; we know no_crack and crack"),
        (coco({**POLYGON, "image_id": 9}), "annotation 7 belongs to the image 9, which the file does not have"),
        (coco({**POLYGON, "image_id": [1]}), "annotation 7: [1] is not an id"),
        (coco({**POLYGON, "category_id": 9}), "annotation 7 has the category 9, which the file does not have"),
        (coco({**POLYGON, "segmentation": [[1, 2, 3, 4]]}), "annotation 7: a polygon needs three corners or more"),
        (coco({**POLYGON, "segmentation": [[1, 2, 3, 4, 5, "x"]]}), "annotation 7: [1, 2, 3, 4, 5, 'x'] are not"),
        (coco({**POLYGON, "segmentation": [[1, 2, 3, 4, 5, float("nan")]]}), "nan] are not all finite numbers"),
        (coco({**POLYGON, "segmentation": {"size": [3, 4], "counts": [12]}}), "its mask is 4x3 pixels, but the image"),
        (coco({**POLYGON, "segmentation": {"size": [30, 40], "counts": [12]}}), "the runs of its mask have 12 pixels"),
        (coco({**POLYGON, "segmentation": {"size": [30, 40], "counts": "\x01"}}), "its run lengths are damaged at"),
        (coco({**POLYGON, "segmentation": {"size": [30, 40], "counts": "o"}}), "its run lengths end too early"),
        (coco({**BOX, "bbox": [1, 2, 0, 4]}), "annotation 8: the box from 1, 2 to 1, 6 has no area"),
        (coco({**BOX, "bbox": None}), "annotation 8, bbox: None are not all finite numbers"),
        (coco("x"), "annotations 1: 'x' is not an object with fields"),
        (coco(POLYGON, name=""), "image 1, file_name: '' is not a name"),
        ({**coco(), "images": [{"id": 1, "file_name": "a", "width": 0, "height": 3}]}, "0 is not a width or a height"),
        ({**coco(), "images": [{"id": 1}, {"id": 1}]}, "two images have the id 1"),
        ({**coco(), "images": 3}, "images: 3 is not a list"),
        ({"images": []}, "is not a file of annotations that we know"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, content, message):
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read(tmp_path, content)
    assert str(tmp_path / "coco.json") in str(raised.value)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "coco.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        read_annotations(path)
