"""YOLO's label files: the names of classes, and what is wrong with a file."""

import re
from pathlib import Path

import pytest

from components.shared.data.annotations.yolo import read_class_names, read_yolo
from components.shared.errors import InputError


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", "path: .\nnames:\n  0: no_crack\n  1: crack\n"),
        ("data.yaml", "nc: 2\nnames: ['no_crack', 'crack']\n"),
        ("data.yaml", "names:\n- no_crack\n- crack\n"),
        ("classes.txt", "no_crack\ncrack\n"),
        ("obj.names", "no_crack\r\ncrack"),
    ],
)
def test_names_of_classes(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_class_names(tmp_path / name) == {0: "no_crack", 1: "crack"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.yaml", "names: [", "is not valid YAML"),
        ("data.yaml", "nc: 2", "has no field `names` with the names of the classes"),
        ("data.yaml", "names: crack", "`names` is neither a list nor a mapping from numbers"),
        ("data.yaml", "names: [crack, 3]", "names: 3 is not a name"),
        ("data.yaml", "names: [crack]\nkpt_shape: [17, 3]", "its labels have keypoints, which have no area"),
        ("classes.txt", "\n", "is empty; write the name of each class on its own line"),
    ],
)
def test_wrong_names_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_class_names(tmp_path / name)


def test_lines_and_meanings(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1 0.5 0.5 0.2 0.2\n\n0 0 0 1 0 1 1\n")
    annotation = read_yolo(path, "a", {0: "Rost", 1: "Riss"}, {"Rost": "no_crack", "Riss": "crack"})
    assert [shape.label for shape in annotation.shapes] == ["crack", "no_crack"]
    assert annotation.shapes[1].polygon.tolist() == [[0, 0], [1, 0], [1, 1]]
    path.write_text("")
    assert read_yolo(path, "a", {}).shapes == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("crack 0.5 0.5 0.2 0.2", "line 2: 'crack' is not the number of a class"),
        ("7 0.5 0.5 0.2 0.2", "line 2: the class 7 has no name; the named classes are 0 crack, 1 Riss"),
        ("1 0.5 0.5 0.2 0.2", "unknown class 'Riss'"),
        ("0 0.5 0.5 0.2", "line 2 has 3 numbers after the class. A box has 4 numbers, and a polygon has"),
        ("0 0.5 0.5 0.2 0.2 0.9", "line 2 has a number after the box, such as the confidence of a network"),
        ("0 0.5 0.5 0.2 0.2 0.9 0.1 0.3", "line 2 has 7 numbers"),
        ("0 0.5 0.5 0 0.2", "line 2: the box from 0.5, 0.4 to 0.5, 0.6 has no area"),
        ("0 120 80 40 20", "line 2: 120 is far outside the image, whose coordinates go from 0 to 1. The file may"),
        ("0 0.5 nan 0.2 0.2", "line 2: ['0.5', 'nan', '0.2', '0.2'] are not all finite numbers"),
        ("0 0,5 0,5 0,2 0,2", "line 2: ['0,5', '0,5', '0,2', '0,2'] are not numbers"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"0 0.5 0.5 0.2 0.2\n{line}\n")
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read_yolo(path, "a", {0: "crack", 1: "Riss"})
    assert str(path) in str(raised.value)
