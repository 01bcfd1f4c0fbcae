"""Queues in the formats of other programs: every answer comes back to its tile."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from components.shared.errors import InputError
from pipelines.review.export import WRITERS, export_queue
from pipelines.review.queue import make_queue
from pipelines.review.read_answers import read_answers
from pipelines.review.run_artifacts import read_run

TILE, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def queue(run, tmp_path) -> tuple[Path, pd.DataFrame]:
    """A queue of all tiles. Their names in the source have spaces, umlauts and plus signs, some of them twice."""
    folder = tmp_path / "queue of Jörg + Ada"
    return folder, make_queue(run.store, read_run(run.artifacts), folder, size=96, per_photo=96)


def test_every_label_comes_back_to_its_tile(queue) -> None:
    folder, table = queue
    expected = dict(zip(table["tile"], table["label"], strict=True))
    assert len(expected) == 96
    assert {"Brücke 1+2", "Straße 3"} <= {Path(path).stem.rpartition(" ")[0] for path in table["path"]}
    for program in WRITERS:
        given = read_answers(export_queue(folder, program, with_labels=True))
        assert given.answers == expected, program
        assert not given.unanswered

        given = read_answers(export_queue(folder, program))
        assert not given.answers, program
        assert given.unanswered == set(expected)
        for hint in ("crack/", "no_crack/", "Brücke"):  # the path would give the label away
            assert hint not in _text(folder, program)

    table.assign(answer=table["label"]).to_csv(folder / "filled.csv", index=False, sep=";", encoding="utf-8-sig")
    assert read_answers(folder / "filled.csv").answers == expected


def _text(folder: Path, program: str) -> str:
    return "".join(path.read_text() for path in folder.glob(f"{program}*") if path.is_file())


def test_what_people_add_in_label_studio_is_read(queue, tmp_path) -> None:
    folder, table = queue
    tasks = json.loads(export_queue(folder, "label-studio").read_text())
    words = ["crack", "no_crack", "bad image", "unsure"]
    short, rows = [], ["annotation_id,annotator,answer,id,image,tile"]
    for number, (task, word) in enumerate(zip(tasks, words, strict=False), start=1):
        result = [{"from_name": "answer", "to_name": "image", "type": "choices", "value": {"choices": [word]}}]
        task["annotations"] = [{"id": number, "was_cancelled": False, "result": result}]
        short.append({**task["data"], "id": number, "answer": word})
        rows.append(f"{number},1,{word},{number},{task['data']['image']},{task['data']['tile']}")
    tasks[5]["annotations"] = [{"id": 9, "was_cancelled": True, "result": tasks[0]["annotations"][0]["result"]}]

    expected = dict(zip(table["tile"], words, strict=False))
    for name, content in {
        "full.json": json.dumps(tasks), "short.json": json.dumps(short), "table.csv": "\n".join(rows),
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content)
        assert read_answers(tmp_path / name).answers == expected, name

    interface = ElementTree.parse(folder / "label-studio.xml").getroot()
    assert [choice.get("value") for choice in interface.iter("Choice")] == words[1::-1] + words[2:]


def test_a_prefix_that_a_program_adds_to_the_name_does_no_harm(tmp_path) -> None:
    tasks = [{"data": {"image": f"/data/upload/3/1f2e3d4c-{TILE}.png"}, "annotations": []}]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    assert read_answers(tmp_path / "tasks.json").unanswered == {TILE}


def test_tags_of_cvat_are_read(queue, tmp_path) -> None:
    folder, table = queue
    path = export_queue(folder, "cvat")
    document = ElementTree.parse(path)
    images = document.getroot().findall("image")
    assert images[0].get("name") == f"{table['tile'][0]}.png"
    assert (images[0].get("width"), images[0].get("height")) == ("64", "64")
    for image, word in zip(images, ["crack", "bad image"], strict=False):
        ElementTree.SubElement(image, "tag", label=word, source="manual")
    document.write(tmp_path / "annotations.xml")
    given = read_answers(tmp_path / "annotations.xml")
    assert given.answers == {table["tile"][0]: "crack", table["tile"][1]: "bad image"}
    assert len(given.unanswered) == 94
    unmarked = read_answers(tmp_path / "annotations.xml", unmarked_shows_no_crack=True)
    assert list(unmarked.answers.values()).count("no_crack") == 94


def test_folders_of_classes_are_read(tmp_path) -> None:
    for folder, tile in (("Cracked", TILE), ("bad_image", OTHER)):
        (tmp_path / "set" / "train" / folder).mkdir(parents=True)
        (tmp_path / "set" / "train" / folder / f"{tile}.png").touch()
    assert read_answers(tmp_path / "set").answers == {TILE: "crack", OTHER: "bad image"}


def test_a_label_file_without_lines_shows_no_crack(tmp_path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / f"{TILE}.txt").touch()
    (tmp_path / "labels" / f"{OTHER}.txt").write_text("1 0.5 0.5 1 1\n")
    (tmp_path / "classes.txt").write_text("background\ncrack\n")
    assert read_answers(tmp_path).answers == {TILE: "no_crack", OTHER: "crack"}


def cvat(tile: str, *labels: str) -> str:
    tags = "".join(f'<tag label="{label}"/>' for label in labels)
    return f'<annotations><image name="{tile}.png" width="9" height="9">{tags}</image></annotations>'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "tile,label\n", "lacks the column answer; it has tile, label. Give the CSV that the review page"),
        ("a.csv", "path;label\n", "lacks the column tile and the column answer; it has path, label"),
        ("a.csv", f"tile,answer\n{TILE},maybe\n", "line 2: the answer is 'maybe'; write no_crack, crack, bad image or"),
        ("a.csv", "tile,answer\nIMG_1.jpg,crack\n", "line 2: 'IMG_1.jpg' does not name a tile"),
        ("a.csv", f"tile,answer\n{TILE},crack\n{TILE},n\n", "line 3: the tile a+ has two answers, crack and no_crack"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", '{"x": 1}', "is JSON, but has neither Label Studio's tasks nor COCO"),
        ("a.json", "[]", "is JSON, but has neither"),
        ("a.json", '[{"data": {"image": "IMG_1.jpg"}}]', "task 1: 'IMG_1.jpg' does not name a tile"),
        ("a.json", '{"images": [{"id": 1}], "annotations": [], "categories": []}', "is not a complete COCO file"),
        ("a.xml", "<annotations>", "is not valid XML"),
        ("a.xml", "<annotation/>", 'is not in the format "CVAT for images 1.1"'),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "declares a document type"),
        ("a.xml", cvat(TILE, "rust"), "the answer is 'rust'"),
        ("a.xml", cvat(TILE, "crack", "no_crack"), "has two answers, crack and no_crack; keep one of them"),
        ("a.xml", cvat("IMG_1"), "'IMG_1.png' does not name a tile"),
    ],
)
def test_a_file_that_cannot_be_used_gives_one_message(tmp_path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_answers(tmp_path / name)


def test_a_file_that_is_not_text_or_not_there_gives_one_message(tmp_path) -> None:
    (tmp_path / "tile.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    with pytest.raises(InputError, match=r"tile\.png is not UTF-8"):
        read_answers(tmp_path / "tile.png")
    with pytest.raises(InputError, match="No such file"):
        read_answers(tmp_path / "nowhere.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty has neither a folder labels nor a folder of tiles whose name is"):
        read_answers(tmp_path / "empty")


SIZE = 200  # pixels; 0.5 % of the tile are 200 pixels
# Each shape as a box x, y, width, height; its class; the answer to the tile.
SHAPES = [
    ((10, 10, 20, 20), "crack", "crack"),
    ((10, 10, 20, 10), "crack", "crack"),  # exactly 0.5 %
    ((10, 10, 19, 10), "crack", None),
    ((10, 10, 50, 50), "no_crack", "no_crack"),
]


def as_coco(folder: Path, box: tuple[int, ...], label: str) -> Path:
    left, top, width, height = box
    right, bottom = left + width, top + height
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": []}
    other = {**annotation, "segmentation": [[left, top, right, top, right, bottom, left, bottom]]}
    content = {
        "images": [{"id": 1, "file_name": f"{TILE}.png", "width": SIZE, "height": SIZE}],
        "categories": [{"id": 1, "name": label}, {"id": 2, "name": "bad image"}],
        "annotations": [annotation, *([other] if width > 19 < height else [])],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def as_cvat(folder: Path, box: tuple[int, ...], label: str) -> Path:
    left, top, width, height = box
    drawn = f'<box label="{label}" xtl="{left}" ytl="{top}" xbr="{left + width}" ybr="{top + height}"/>'
    image = f'<image name="{TILE}.png" width="{SIZE}" height="{SIZE}">{drawn}</image>'
    (folder / "cvat.xml").write_text(f"<annotations>{image}</annotations>")
    return folder / "cvat.xml"


def as_yolo(folder: Path, box: tuple[int, ...], label: str) -> Path:
    left, top, width, height = box
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text(label)
    middle = f"{(left + width / 2) / SIZE} {(top + height / 2) / SIZE}"
    (folder / "labels" / f"{TILE}.txt").write_text(f"0 {middle} {width / SIZE} {height / SIZE}")
    return folder


def as_label_studio(folder: Path, box: tuple[int, ...], label: str) -> Path:
    x, y, width, height = (edge / SIZE * 100 for edge in box)
    value = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": [label]}
    return as_task(folder, {"type": "rectanglelabels", "value": value})


def as_task(folder: Path, *results: dict, **people: list[dict]) -> Path:
    annotations = [{"id": name, "result": own} for name, own in (people or {"1": list(results)}).items()]
    tasks = [{"id": 7, "data": {"tile": TILE}, "annotations": annotations}]
    (folder / "tasks.json").write_text(json.dumps(tasks))
    return folder / "tasks.json"


@pytest.mark.parametrize("write", [as_coco, as_cvat, as_yolo, as_label_studio])
@pytest.mark.parametrize(("box", "label", "answer"), SHAPES)
def test_shapes_become_the_label_of_their_tile(tmp_path, write, box, label: str, answer: str | None) -> None:
    given = read_answers(write(tmp_path, box, label))
    if answer is None:
        assert given.answers == {}
        assert "0.4" in given.left_out[0]
        assert given.left_out[0].endswith("less than 0.5%, so neither label is right")
    else:
        assert given.answers == {TILE: answer}


def test_a_shape_that_contradicts_its_tag_is_refused(tmp_path) -> None:
    path = as_cvat(tmp_path, (10, 10, 20, 20), "crack")
    for tag, refused in (("no_crack", True), ("bad image", False), ("crack", False)):
        drawn = path.read_text().replace("<box", f'<tag label="{tag}"/><box')
        (tmp_path / "tagged.xml").write_text(drawn)
        if refused:
            with pytest.raises(InputError, match="has two answers, no_crack and crack"):
                read_answers(tmp_path / "tagged.xml")
        else:
            assert read_answers(tmp_path / "tagged.xml").answers == {TILE: tag}


POINTS = [[5, 5], [20, 5], [20, 20], [5, 20]]  # per cent; 2.25 % of the tile
PAINTED = f"{10 * SIZE + 10}, 400, {SIZE * SIZE - 10 * SIZE - 410}"  # 1 % of the tile


def polygon_in_yolo(folder: Path) -> Path:
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: [no_crack, crack]")
    corners = " ".join(f"{value / 100}" for point in POINTS for value in point)
    (folder / "labels" / f"{TILE}.txt").write_text(f"1 {corners}")
    return folder


def polygon_in_label_studio(folder: Path) -> Path:
    return as_task(folder, {"type": "polygonlabels", "value": {"points": POINTS, "polygonlabels": ["crack"]}})


def brush_in_label_studio(folder: Path) -> Path:
    """Paint two pixels of a mask of 2 x 2. They are packed as one run of 8 painted values and one run of 8 zeros."""
    bits = f"{16:032b}{7:05b}{'0010' * 4}" + "100111" + "11111111" + "100111" + "00000000"
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
    size = {"original_width": 2, "original_height": 2}
    value = {"format": "rle", "rle": packed, "brushlabels": ["crack"]}
    return as_task(folder, {"type": "brushlabels", **size, "value": value})


def mask_in_cvat(folder: Path) -> Path:
    drawn = f'<mask label="crack" rle="{PAINTED}" left="0" top="0" width="{SIZE}" height="{SIZE}"/>'
    image = f'<image name="{TILE}.png" width="{SIZE}" height="{SIZE}">{drawn}</image>'
    (folder / "cvat.xml").write_text(f"<annotations>{image}</annotations>")
    return folder / "cvat.xml"


def mask_in_coco(folder: Path) -> Path:
    path = as_coco(folder, (1, 1, 1, 1), "crack")
    content = json.loads(path.read_text())
    runs = [int(run) for run in PAINTED.split(",")]
    content["annotations"][0]["segmentation"] = {"size": [SIZE, SIZE], "counts": runs}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "write", [polygon_in_yolo, polygon_in_label_studio, brush_in_label_studio, mask_in_cvat, mask_in_coco]
)
def test_polygons_and_masks_become_the_label_of_their_tile(tmp_path, write) -> None:
    assert read_answers(write(tmp_path)).answers == {TILE: "crack"}


def test_people_who_drew_on_one_tile_in_label_studio_are_not_joined(tmp_path) -> None:
    polygon = {"type": "polygonlabels", "value": {"points": POINTS, "polygonlabels": ["crack"]}}
    choice = {"type": "choices", "value": {"choices": ["no_crack"]}}
    with pytest.raises(InputError, match=r"task 7, annotation ben: the tile a+ has two answers, crack and no_crack"):
        read_answers(as_task(tmp_path, ada=[polygon], ben=[choice]))
    given = read_answers(as_task(tmp_path, ada=[polygon], ben=[]))
    assert (given.answers, given.unanswered) == ({TILE: "crack"}, set())


def test_a_mark_that_is_not_an_area_or_a_known_class_is_refused(tmp_path) -> None:
    keypoint = {"type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": ["crack"]}}
    with pytest.raises(InputError, match=r"task 7, annotation 1 has a mark of the type 'keypointlabels'"):
        read_answers(as_task(tmp_path, keypoint))
    short = {"tile": TILE, "label": [{"x": 1, "y": 1, "rectanglelabels": ["crack"]}]}
    (tmp_path / "short.json").write_text(json.dumps([short]))
    with pytest.raises(InputError, match="task 1 has shapes in the short form JSON-MIN; export the project as JSON"):
        read_answers(tmp_path / "short.json")
    with pytest.raises(InputError, match="unknown class 'bad image'"):
        read_answers(as_yolo(tmp_path, (10, 10, 20, 20), "bad image"))


def test_an_unknown_program_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="--to is 'labelme'; give one of label-studio, cvat, coco, yolo"):
        export_queue(tmp_path, "labelme")
    with pytest.raises(InputError, match=r"has no queue.csv .*; give a folder that `review queue` wrote"):
        export_queue(tmp_path, "coco")
