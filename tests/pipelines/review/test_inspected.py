"""Findings of an inspection in the queue, and the answers to them as data."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.inspect.findings import Finding
from components.inspect.record import RECORDS, file_stem, write_record
from components.inspect.tables import write_tables
from components.shared.data.corrections import standing_answers
from components.shared.data.manifest import read_manifest
from components.shared.errors import InputError
from pipelines.review.export import export_queue
from pipelines.review.import_answers import import_answers, summary
from pipelines.review.inspected import cut_inspected
from pipelines.review.queue import make_queue, read_queue
from pipelines.review.ranking import FINDING, rank
from pipelines.review.read_answers import read_answers
from pipelines.review.run_artifacts import read_run
from tests.inspection_records import finding, inspected_photo
from tests.pipelines.review.test_queue import answers

SIDE = 64


def write_inspection(folder: Path, photos: dict[str, list[Finding]]) -> Path:
    inspected = []
    for number, (name, findings) in enumerate(photos.items()):
        path = folder / "photos of Ada" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 255, (9, 12, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (192, 144), interpolation=cv2.INTER_CUBIC))
        one = inspected_photo(path, *findings, side=SIDE)
        write_record(one.record, folder / "out" / RECORDS / f"{file_stem(path, one.record.sha256)}.json")
        inspected.append(one)
    write_tables(inspected, folder / "out")
    return folder / "out"


@pytest.fixture
def inspection(tmp_path: Path) -> Path:
    unsure = [finding("needs_review", p, peak) for p, peak in ((0.2, (0, 0)), (0.45, (80, 70)), (0.3, (128, 80)))]
    photos = {
        "Brücke 1+2.png": [finding("crack", 0.9, (0, 64)), *unsure],
        "pier.png": [finding("needs_review", 0.4, (10, 20))],
        "clean.png": [],
    }
    return write_inspection(tmp_path, photos)


def test_one_tile_is_cut_for_each_finding_that_needs_review(inspection: Path) -> None:
    found = cut_inspected(inspection)
    assert found.missing == []
    assert found.tiles["p_crack"].tolist() == [0.45, 0.4, 0.3, 0.2]  # the threshold is 0.5
    assert found.tiles["photo"].str.startswith("pier-").tolist() == [False, True, False, False]
    for tile, path in zip(found.tiles["tile"], found.tiles["path"], strict=True):
        photo, _, place = path.rpartition("@")
        left, top = map(int, place.split(","))
        assert hashlib.sha256(found.images[tile]).hexdigest() == tile
        shown = cv2.imdecode(np.frombuffer(found.images[tile], np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(shown, cv2.imread(photo)[top : top + SIDE, left : left + SIDE])


def test_photos_that_are_gone_or_changed_are_named(inspection: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos of Ada"
    (photos / "pier.png").unlink()
    found = cut_inspected(inspection)
    assert len(found.tiles) == 3
    [missing] = found.missing
    assert "pier.png: No such file or directory; call the command from the folder from which" in missing
    (photos / "Brücke 1+2.png").write_bytes((photos / "clean.png").read_bytes())
    with pytest.raises(
        InputError, match=r"gives no tile for the queue: photos that cannot be read: .* was changed since"
    ):
        cut_inspected(inspection)


def test_a_folder_that_is_not_an_inspection_is_refused(inspection: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"has no table photos\.csv .*; give a folder that `crack-pipeline inspect` wrote"
    ):
        cut_inspected(tmp_path)
    clean = write_inspection(tmp_path / "other", {"clean.png": []})
    with pytest.raises(
        InputError, match="gives no tile for the queue: no finding needs review; leave --inspection out"
    ):
        cut_inspected(clean)
    next((inspection / RECORDS).glob("pier*")).write_text("{}")
    with pytest.raises(InputError, match=r"pier-.*\.json is missing or damaged; inspect the photos again"):
        cut_inspected(inspection)


def test_findings_take_turns_with_the_other_reasons_and_no_photo_fills_the_queue() -> None:
    found = answers([0, 0, 1, 1], [[0.45], [0.05], [0.9], [0.8]])
    inspected = pd.DataFrame({"tile": [f"{9 + number:064x}" for number in range(4)], "photo": ["x", "x", "x", "y"]})
    chosen = rank(found, standing_answers([]), size=8, per_photo=2, inspected=inspected)
    assert chosen["row"].tolist() == [4, 0, 5, 3, 7, 2, 1]
    assert chosen["reason"].tolist()[:2] == [FINDING, "near the threshold"]


def test_answers_to_findings_become_labelled_tiles_of_their_photo(run, inspection: Path, tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    make_queue(run.store, read_run(run.artifacts), folder, size=20, inspected=cut_inspected(inspection))
    queue = read_queue(folder)
    new = queue[queue["label"] == ""]
    assert new["p_crack_inspection"].tolist() == ["0.45", "0.4", "0.3", "0.2"]
    assert set(new["p_crack_cnn"]) == {""}
    assert set(new["reason"]) == {FINDING}
    assert read_answers(export_queue(folder, "coco", with_labels=True)).unanswered == set(new["tile"])

    first, second, third, fourth = new["tile"]
    said = {first: "crack", second: "no_crack", third: "bad image", fourth: "unsure", queue["tile"][0]: "crack"}
    (tmp_path / "ada.csv").write_text("tile,answer\n" + "".join(f"{tile},{word}\n" for tile, word in said.items()))
    with pytest.raises(InputError, match="come from inspected photos, give the folder of the queue with --queue"):
        import_answers(run.store, tmp_path / "ada.csv", "Ada")
    imported = import_answers(run.store, tmp_path / "ada.csv", "Ada", queue=folder)
    table = pd.read_csv(folder / "labelled.csv")
    assert table["label"].tolist() == ["crack", "no_crack"]
    lines = summary(imported)
    assert "2 answers label tiles that no data set version has" in lines
    assert any(line.startswith(f"{folder / 'labelled.csv'} has 2 tiles of inspected photos") for line in lines)

    data = f"{run.source}?group_pattern=%5E%28.%2A%29_,{folder / 'labelled.csv'}?source=inspected"
    ingest_dataset(data, tmp_path / "new", tmp_path / "new.html", IngestConfig(store=run.store.uri, min_images=5))
    tiles = read_manifest(tmp_path / "new").table.set_index("sample_id")
    assert tiles.loc[[first, second], "label"].tolist() == [1, 0]
    assert tiles.loc[first, "group_id"] != tiles.loc[second, "group_id"]
    assert not {third, fourth} & set(tiles.index)

    # When people disagree, the tile has no label. An answered tile does not come back.
    (tmp_path / "ben.csv").write_text(f"tile,answer\n{first},no_crack\n")
    assert import_answers(run.store, tmp_path / "ben.csv", "Ben", queue=folder).labelled[1:] == (1, 1)
    again = make_queue(
        run.store, read_run(run.artifacts), tmp_path / "again", size=20, inspected=cut_inspected(inspection)
    )
    assert not {second, third} & set(again["tile"])

    (folder / "tiles" / f"{second}.png").write_bytes(b"other")
    with pytest.raises(InputError, match="is missing or was changed, so the answer is about another image; restore"):
        import_answers(run.store, tmp_path / "ben.csv", "Ben", queue=folder)
