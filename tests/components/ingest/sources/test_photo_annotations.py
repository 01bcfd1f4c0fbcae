"""Photos with annotations of several programs: which file belongs to which photo, and what is refused or counted."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.ingest.config import IngestConfig
from components.ingest.sources.open_sources import Source, open_sources
from components.ingest.sources.uri import parse_sources
from components.shared.errors import InputError

WIDTH, HEIGHT, TILE = 128, 64, 64
BOX = "0 0.25 0.5 0.2 0.4\n"  # in the first of the two tiles


def write_photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    cv2.imwrite(str(path), pixels)


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def opened(folder: Path, options: str = "", **config: object) -> Source:
    parsed = IngestConfig.model_validate({"store": "s3://unused/store", "max_refused": 0.6, **config})
    scratch = folder.parent / f"scratch-{len(list(folder.parent.iterdir()))}"
    scratch.mkdir()
    [source] = open_sources(parse_sources(f"{folder}?tile={TILE}{options}"), parsed, scratch)
    return source


def cracks(source: Source) -> list[str]:
    assert source.layout == "photos"
    return source.files[source.files["label"] == 1]["path"].tolist()


@pytest.mark.parametrize(
    ("photos", "labels", "names"),
    [
        (("a.png", "b.png"), ("a.txt", "b.txt"), "classes.txt"),
        (("a.png", "b.png"), ("labels/a.txt", "labels/b.txt"), "labels/classes.txt"),
        (("p/a.png", "q/a.png"), ("labels/p/a.txt", "labels/q/a.txt"), "obj.names"),
        (("images/p/a.png", "images/q/a.png"), ("labels/p/a.txt", "labels/q/a.txt"), "data.yaml"),
        (("train/images/a.png", "valid/images/b.png"), ("train/labels/a.txt", "valid/labels/b.txt"), "data.yaml"),
        (("a+ b.png", "b.png"), ("labels/1f2e3d4c-a_b.txt", "labels/0f2e3d4c-b.txt"), "classes.txt"),
    ],
)
def test_label_files_of_yolo_find_their_photos(tmp_path: Path, photos, labels, names: str) -> None:
    folder = tmp_path / "data"
    for photo, label, content in zip(photos, labels, (BOX, ""), strict=True):
        write_photo(folder / photo)
        write(folder / label, content)
    write(folder / names, "names: [crack]" if names == "data.yaml" else "crack\n")
    write(folder / "README.txt", "thanks for the photos")

    source = opened(folder)
    assert cracks(source) == [f"{photos[0]}@0,0.png"]
    assert len(source.files) == 4
    assert source.warnings == []
    assert source.files["mask"].isna().all()  # a box is not the crack itself
    assert "2 photos with 2 label files (YOLO) are cut" in source.understood[0]

    tags = source.files["tag"].tolist()
    write(folder / names, "names: [crack] # edited" if names == "data.yaml" else "crack\nrust\n")
    assert all(old != new for old, new in zip(tags, opened(folder).files["tag"], strict=True))


def test_what_is_missing_crossing_or_outside_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("a", "b", "c", "open"):
        write_photo(folder / f"{name}.png")
    write(folder / "labels/a.txt", "0 0.1 0.1 0.4 0.9 0.4 0.1 0.1 0.9")
    write(folder / "labels/b.txt", "0 0.9 0.5 1.2 0.5")
    write(folder / "labels/c.txt", "")
    write(folder / "labels/lost.txt", BOX)
    write(folder / "labels/classes.txt", "crack")
    write(folder / "notes.json", '{"categories": []}')
    assert opened(folder).warnings == [
        "photos without annotation, which are not used: 1, such as open.png",
        "annotations that belong to no photo, or that fit several photos: 1, such as labels/lost",
        "photos with shapes that are cut off at the edge of the photo: 1, such as b.png",
        "photos with polygons that cross themselves, so that parts inside do not count as crack: 1, such as a.png",
        "files that are not annotations and are not used: 1, such as notes.json",
    ]


def task(image: str, *annotations: list, width: int = WIDTH) -> dict:
    value = {"x": 5, "y": 10, "width": 40, "height": 50, "rectanglelabels": ["Riss"]}
    box = {"type": "rectanglelabels", "original_width": width, "original_height": HEIGHT, "value": value}
    marks = [{"result": [box] * len(boxes)} for boxes in annotations]
    return {"id": 1, "data": {"image": f"/data/upload/3/1f2e3d4c-{image}"}, "annotations": marks}


def test_photos_of_label_studio_that_cannot_be_used_are_refused_with_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("Brücke 1", "twice", "size", "seen"):
        write_photo(folder / f"{name}.png")
    tasks = [
        task("Brücke_1.png", [1]),
        task("twice.png", [1], []),
        task("size.png", [1], width=9),
        task("seen.png", []),
    ]
    write(folder / "export.json", json.dumps(tasks))
    source = opened(folder, "&classes=Riss:crack")
    assert cracks(source) == ["Brücke 1.png@0,0.png"]
    assert set(source.files["photo"]) == {"Brücke 1.png", "seen.png"}
    refused = dict(source.refused)
    assert refused["twice.png"].startswith("it has 2 annotations, and 0 of them are set as ground truth")
    assert "was made for 9x64 pixels, but the image is 128x64" in refused["size.png"]


def test_an_unknown_class_is_refused_until_somebody_says_what_it_means(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_photo(folder / "a.png")
    write(folder / "shapes.csv", "photo,class,left,top,right,bottom\na.png,Riss,5,5,60,60\na.png,Rost,70,5,90,60\n")
    with pytest.raises(InputError, match=r"unknown class 'Riss', 'Rost'.* Or give each class a meaning: \?classes="):
        opened(folder)
    assert cracks(opened(folder, "&classes=Riss:crack;Rost:no_crack")) == ["a.png@0,0.png"]

    write(folder / "shapes.csv", "photo,class,left,top,right,bottom\na.jpg,crack,5,5,60,60\n./a.png,crack,5,5,60,60\n")
    with pytest.raises(InputError, match=r"the photo a\.png has two annotations: a\.jpg, and \./a\.png in shapes\.csv"):
        opened(folder)


def test_classes_without_names_have_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_photo(folder / "a.png")
    write(folder / "a.txt", BOX)
    with pytest.raises(InputError, match=r"unknown class '0'"):
        opened(folder)
    assert cracks(opened(folder, "&classes=0:crack")) == ["a.png@0,0.png"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": BOX, "x.json": '[{"data": {}}]'}, "the file x.json (Label Studio); 1 label files of YOLO, such"),
        ({"a.txt": BOX, "labels/a.txt": BOX, "classes.txt": "crack"}, "the photo a.png has two annotations"),
        ({"a.txt": BOX, "classes.txt": "crack", "data.yaml": "names: [crack]"}, "several files that list the classes"),
        ({"x.json": "{}"}, "x.json is not a file of annotations that we know; give COCO"),
        ({"x.csv": "path,label\n"}, "If it is a table of tiles with the columns path and label, give"),
        ({"x.json": ""}, "x.json is empty; export it again"),
        ({"labels/b.txt": BOX, "classes.txt": "crack"}, "no mask or annotation with the name of a photo (1"),
    ],
)  # fmt: skip
def test_marks_that_are_not_clear_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    write_photo(tmp_path / "data/a.png")
    for name, content in files.items():
        write(tmp_path / "data" / name, content)
    with pytest.raises(InputError, match=re.escape(message)):
        opened(tmp_path / "data")


@pytest.mark.parametrize("classes", ["Riss", "Riss:no", ":crack", "a:crack;a:no_crack", ""])
def test_a_wrong_option_is_refused(tmp_path: Path, classes: str) -> None:
    with pytest.raises(InputError, match=r"its option classes has .*; write each class once, with its"):
        parse_sources(f"{tmp_path}?classes={classes}")
