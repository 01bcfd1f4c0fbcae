"""Label Studio's export: whose annotation counts, which photo it is about, and what is wrong with a file."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from components.shared.data.annotations.fields import parse_json, read_text
from components.shared.data.annotations.label_studio import path_in
from components.shared.data.annotations.reading import read_annotations
from components.shared.data.annotations.shapes import ImageAnnotation
from components.shared.errors import InputError

SIZE = {"original_width": 40, "original_height": 30}
BOX = {
    "type": "rectanglelabels", **SIZE,
    "value": {"x": 10, "y": 20, "width": 50, "height": 20, "rectanglelabels": ["crack"]},
}  # fmt: skip


def box(**changes: Any) -> dict[str, Any]:
    return {**BOX, "value": {**BOX["value"], **changes}}


def annotated(*results: Any, **facts: Any) -> dict[str, Any]:
    return {"result": list(results), **facts}


def task(*annotations: Any, image: str = "/data/upload/3/1f2e3d4c-IMG_1.jpg") -> dict[str, Any]:
    return {"id": 7, "data": {"image": image}, "annotations": list(annotations)}


def read(folder: Path, *tasks: Any) -> list[ImageAnnotation]:
    path = folder / "tasks.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return read_annotations(path)


def test_annotated_tasks_are_read_and_the_others_are_not(tmp_path: Path) -> None:
    choice = {"type": "choices", "value": {"choices": ["no crack"]}}
    note = {"type": "textarea", "value": {"text": ["wet"]}}
    found = read(
        tmp_path,
        task(annotated(BOX, note, choice)),
        task(annotated(), image="seen.jpg"),
        task(image="open.jpg"),
        task(annotated(BOX, was_cancelled=True), image="skipped.jpg"),
        {"data": {"image": "imported.jpg"}, "predictions": [annotated(BOX)]},
    )
    assert [one.name for one in found] == ["data/upload/3/1f2e3d4c-IMG_1.jpg", "seen.jpg"]
    assert (found[0].width, found[0].height, found[0].labels) == (40, 30, ("no_crack",))
    assert found[0].shapes[0].polygon.tolist() == [[4, 6], [24, 6], [24, 12], [4, 12]]
    assert found[1].shapes == ()


def test_of_several_people_the_ground_truth_counts_and_no_union_is_taken(tmp_path: Path) -> None:
    other = annotated(box(x=0), id=2)
    [one] = read(tmp_path, task(annotated(BOX), other))
    assert one.shapes == ()
    assert one.problem.startswith("it has 2 annotations, and 0 of them are set as ground truth; set exactly one")

    [one] = read(tmp_path, task(annotated(BOX), {**other, "ground_truth": True}))
    assert (one.problem, one.shapes[0].polygon[0].tolist()) == ("", [0, 6])
    [one] = read(tmp_path, task(annotated(BOX, ground_truth=True), {**other, "ground_truth": True}))
    assert "2 of them are set as ground truth" in one.problem
    [one] = read(tmp_path, task(annotated(BOX, was_cancelled=True), other))
    assert one.problem == ""


def test_the_path_of_an_image() -> None:
    assert path_in("/data/local-files/?d=pier%201/Br%C3%BCcke%2B1.jpg") == "pier 1/Brücke+1.jpg"
    assert path_in("/data/upload/3/1f2e3d4c-Br%C3%BCcke_1.jpg") == "data/upload/3/1f2e3d4c-Brücke_1.jpg"
    assert path_in("s3://bucket/pier/IMG_1.jpg") == "pier/IMG_1.jpg"
    assert path_in("https://host/a/IMG_1.jpg?token=x") == "a/IMG_1.jpg"
    assert path_in("pier/IMG_1.jpg") == "pier/IMG_1.jpg"


def keypoint(kind: str) -> dict[str, Any]:
    return {"type": kind, **SIZE, "value": {"x": 1, "y": 1, kind: ["crack"]}}


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([keypoint("keypointlabels")], "has a mark of the type 'keypointlabels'; we know rectanglelabels, polygon"),
        ([keypoint("ellipselabels")], "has a mark of the type 'ellipselabels'"),
        ([{**BOX, "type": "rectangle"}], "has a mark of the type 'rectangle'"),
        ([box(rectanglelabels=["Riss"])], "unknown class 'Riss'"),
        ([box(rectanglelabels=[])], "has a mark without a class"),
        ([box(width=0)], "the box from 4, 6 to 4, 12 has no area"),
        ([box(x=1200)], "1200 is far outside the image, whose coordinates go from 0 to 100"),
        ([box(x="left")], "rectangle: ['left', 20, 50, 20] are not numbers"),
        ([{**BOX, "original_height": None}], "original_height: None are not all finite numbers"),
        ([{**BOX, "image_rotation": 90}], "the image was turned in Label Studio; turn it back"),
        ([BOX, {**BOX, "original_width": 80}], "has marks for images of different sizes"),
        ([{"type": "rectanglelabels", **box(rotation=5), "original_width": None, "original_height": None}],
         "a turned rectangle needs original_width and original_height"),
        ([{"type": "polygonlabels", **SIZE, "value": {"points": [[1, 1], [2, 2]], "polygonlabels": ["crack"]}}],
         "a polygon needs three corners or more"),
        ([{"type": "brushlabels", **SIZE, "value": {"format": "rle", "rle": [1, 2], "brushlabels": ["crack"]}}],
         "its brush stroke is damaged: it ends too early; export it again"),
        ([{"type": "brushlabels", **SIZE, "value": {"format": "rle", "rle": [1, 999], "brushlabels": ["crack"]}}],
         "its brush stroke is damaged: bytes must be in range(0, 256)"),
        (["x"], "'x' is not an object with fields"),
    ],
)  # fmt: skip
def test_a_mark_that_cannot_be_used_is_refused_with_its_place(tmp_path: Path, results: list, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read(tmp_path, task(annotated(*results)))
    assert str(tmp_path / "tasks.json") in str(raised.value)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([{"id": 1, "image": "a.jpg", "label": [{"x": 1}]}], 'task 1 lacks the field "data"; perhaps the file'),
        ([{"data": {"text": "x"}, "annotations": [annotated()]}], "no image in its data; its field file_upload: None"),
        ([{"data": {"left": "a.jpg", "right": "b.jpg"}, "annotations": [annotated()]}], "in several fields, left"),
        ([], "is not a file of annotations that we know"),
    ],
)
def test_a_wrong_task_is_refused(tmp_path: Path, tasks: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, *tasks)


@pytest.mark.parametrize("content", ["[" * 100_000_000, "[[]," + "[]," * 30_000_000 + "[]]"], ids=["deep", "long"])
def test_nested_lists_of_100_mb_are_refused_at_once(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"is not a list of objects, but begins with \[\["):
        parse_json(tmp_path / "a.json", content)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(2**30 + 1)  # takes no room on the disk
    with pytest.raises(InputError, match=r"has 1,073,741,825 bytes, more than 1,073,741,824; split it"):
        read_text(tmp_path / "a.json")
