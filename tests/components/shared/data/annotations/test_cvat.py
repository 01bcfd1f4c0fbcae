"""CVAT files: tags, boxes, polygons, lines and masks, and what is wrong with a file."""

import re
from pathlib import Path

import numpy as np
import pytest

from components.shared.data.annotations.reading import read_annotations
from components.shared.data.annotations.shapes import crack_mask
from components.shared.errors import InputError

BOX = '<box label="crack" xtl="2.00" ytl="3.00" xbr="7.00" ybr="7.00"/>'


def read(folder: Path, *shapes: str, name: str = "Brücke 1/IMG+1 &amp; 2.jpg"):
    path = folder / "annotations.xml"
    image = f'<image id="0" name="{name}" width="40" height="30">{"".join(shapes)}</image>'
    empty = '<image id="1" name="empty.jpg" width="40" height="30"></image>'
    path.write_text(f"<?xml version='1.0'?><annotations><version>1.1</version>{image}{empty}</annotations>")
    return read_annotations(path)


def test_every_kind_of_shape(tmp_path):
    first, empty = read(
        tmp_path,
        '<tag label="no crack" source="manual"></tag>',
        BOX,
        '<polygon label="Crack" points="10.00,10.00;20.00,10.00;20.00,25.00"></polygon>',
        '<polyline label="Crack" points="1,1;2,2"><attribute name="width">3</attribute></polyline>',
        '<mask label="crack" rle="1, 2, 3" left="30" top="20" width="3" height="2"></mask>',
    )
    assert (first.name, first.width, first.height) == ("Brücke 1/IMG+1 & 2.jpg", 40, 30)
    assert first.labels == ("no_crack",)
    box, polygon, line, mask = first.shapes
    assert box.is_box
    assert box.polygon.tolist() == [[2, 3], [7, 3], [7, 7], [2, 7]]
    assert polygon.polygon.tolist() == [[10, 10], [20, 10], [20, 25]]
    assert (line.polygon.tolist(), line.line_width) == ([[1, 1], [2, 2]], 3)
    assert mask.bitmap.decode().astype(int).tolist() == [[0, 1, 1], [0, 0, 0]]
    assert (empty.name, empty.labels, empty.shapes) == ("empty.jpg", (), ())


def test_the_mask_lies_at_its_place(tmp_path):
    first, _ = read(tmp_path, '<mask label="crack" rle="1, 2, 3" left="30" top="20" width="3" height="2"></mask>')
    rows, columns = np.nonzero(crack_mask(first, 40, 30))
    assert (rows.tolist(), columns.tolist()) == ([20, 20], [31, 32])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<box label="Riss" xtl="1" ytl="1" xbr="2" ybr="2"/>', "unknown class 'Riss'"),
        ('<box xtl="1" ytl="1" xbr="2" ybr="2"/>', "image 'a.jpg', box, label: None is not a name"),
        ('<box label="crack" xtl="1" ytl="1" xbr="1" ybr="2"/>', "the box from 1, 1 to 1, 2 has no area"),
        ('<box label="crack" xtl="1" ytl="1" ybr="2"/>', "box crack: None are not all finite numbers"),
        ('<box label="crack" xtl="1" ytl="1" xbr="2" ybr="2" rotation="x"/>', "box crack: 'x' are not numbers"),
        ('<polygon label="crack" points="1,1;2,2"/>', "polygon crack: a polygon needs three corners or more"),
        (
            '<polygon label="crack" points="1,1;2;3,3"/>',
            "polygon crack: [['1', '1'], ['2'], ['3', '3']] are not numbers",
        ),
        ('<polyline label="crack" points="1,1;2,2"/>', "polyline crack is a line without a width"),
        (
            '<polyline label="crack" points="1,1;2,2"><attribute name="width">0</attribute></polyline>',
            "polyline crack: its width is '0'; it must be more than 0 pixels",
        ),
        ('<mask label="crack" rle="1,2" left="0" top="0" width="3" height="2"/>', "have 3 pixels, but the mask is 3x2"),
        (
            '<mask label="crack" rle="-1,7" left="0" top="0" width="3" height="2"/>',
            "the runs of its mask have 6 pixels",
        ),
        ('<mask label="crack" left="0" top="0" width="3" height="2"/>', "mask crack: [''] are not numbers"),
        ('<skeleton label="crack"/>', "skeleton crack has an unknown type; the known types are tag, box"),
        ("<box", "is not valid XML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, shape, message):
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read(tmp_path, shape, name="a.jpg")
    assert str(tmp_path / "annotations.xml") in str(raised.value)


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;&b;">]>',
        '<!DOCTYPE a [<!ENTITY file SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
    ],
)
def test_entities_are_refused(tmp_path, declared):
    path = tmp_path / "annotations.xml"
    path.write_text(f'<?xml version="1.0"?>{declared}<annotations>&d;&file;</annotations>')
    with pytest.raises(InputError, match="declares a document type, which can hide an attack"):
        read_annotations(path)


def test_a_video_and_another_xml_file_are_refused(tmp_path):
    path = tmp_path / "annotations.xml"
    for content, message in (
        ("<annotations><track/></annotations>", "is not a file of CVAT for images"),
        ("<html/>", "is not a file of annotations that we know; give COCO"),
        ("<a>" * 100_000, "nests more than 32 elements inside each other"),
        (" ", "is empty"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_annotations(path)
