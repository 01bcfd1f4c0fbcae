"""Tables of shapes: the ways to write them, and what is wrong with a table."""

import re
from pathlib import Path

import pytest

from components.shared.data.annotations.reading import read_annotations
from components.shared.errors import InputError

HEADER = "photo,class,left,top,right,bottom,polygon,photo_width,photo_height"


def read(folder: Path, *lines: str):
    path = folder / "shapes.csv"
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return read_annotations(path)


def test_rows_of_a_photo_become_one_annotation(tmp_path: Path) -> None:
    first, seen = read(
        tmp_path,
        HEADER,
        "a b.jpg,crack,1,2,3,4,,40,30",
        'a b.jpg,Cracked,,,,,"POLYGON ((1 1, 5 1, 5 5, 1 1))",40,30',
        "seen.jpg,,,,,,,,",
    )
    assert (first.name, first.width, first.height) == ("a b.jpg", 40, 30)
    assert first.shapes[0].polygon.tolist() == [[1, 2], [3, 2], [3, 4], [1, 4]]
    assert first.shapes[1].polygon.tolist() == [[1, 1], [5, 1], [5, 5]]
    assert (seen.name, seen.shapes, seen.width) == ("seen.jpg", (), None)


def test_a_german_spreadsheet(tmp_path: Path) -> None:
    [one] = read(tmp_path, "Photo;Class;Left;Top;Right;Bottom", "Brücke.jpg;crack;1,5;2;3;4", ";;;;;")
    assert one.shapes[0].polygon[0].tolist() == [1.5, 2]


@pytest.mark.parametrize("end_of_header", ["", ";"])
def test_lines_can_end_in_a_delimiter(tmp_path: Path, end_of_header: str) -> None:
    [one] = read(tmp_path, f"photo;class;left;top;right;bottom{end_of_header}", "a.jpg;crack;1;2;3;4;", ";;;;;;;")
    assert one.shapes[0].polygon[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["photo,class,polygon,x"], "has the columns x, which are unknown or appear twice; a table"),
        (["photo,class,polygon,class"], "has the columns class, class, which are unknown or"),
        (["path,label"], "is not a file of annotations that we know"),
        ([HEADER, "a.jpg,Riss,1,2,3,4,,,"], "unknown class 'Riss'"),
        ([HEADER, ",crack,1,2,3,4,,,"], "line 2, photo: '' is not a name"),
        ([HEADER, "a.jpg,crack,1,2,1,4,,,"], "line 2: the box from 1, 2 to 1, 4 has no area"),
        ([HEADER, "a.jpg,crack,1,2,,4,,,"], "line 2, right: '' are not numbers"),
        ([HEADER, "a.jpg,crack,1,2,3,4,1 1,,"], "line 2 has a box and a polygon"),
        ([HEADER, "a.jpg,,1,2,3,4,,,"], "line 2 has a shape, but no class; write both"),
        ([HEADER, "a.jpg,crack,,,,,,,"], "line 2 has a class, but no shape; write both"),
        ([HEADER, 'a.jpg,crack,,,,,"1 1, 2 2",,'], "line 2: a polygon needs three corners or more"),
        ([HEADER, 'a.jpg,crack,,,,,"1 1, 2 2, x 3",,'], "['x', '3']] are not numbers"),
        ([HEADER, "a.jpg,crack,,,,,1 1, 2 2, 3 3,,"], "line 2 has 11 cells, but the first line has 9; put the polygon"),
        ([HEADER, 'a.jpg,crack,,,,,"1 1'], "is not valid CSV: unexpected end of data"),
        ([HEADER, "a.jpg,crack,1,2,3,4,,40,30", "a.jpg,crack,1,2,3,4,,80,60"], "line 3: a.jpg has another size than"),
        ([HEADER, "a.jpg,crack,1,2,3,4,,40,"], "line 2, photo_height: '' are not numbers"),
        (["photo;photo,class;class,polygon;polygon"], "is not a file of annotations that we know"),
        (["photo,class,polygon;photo;class;polygon", "a"], "has the columns photo,class,polygon, which are unknown"),
        (["x;photo;class;polygon;,photo,class,polygon,"], "can be split at commas or semicolons; save the table"),
    ],
)
def test_a_wrong_table_is_refused_with_the_place(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read(tmp_path, *lines)
    assert str(tmp_path / "shapes.csv") in str(raised.value)
