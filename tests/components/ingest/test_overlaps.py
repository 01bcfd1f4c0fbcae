"""Overlapping cuts of one photo share a group, even if they are mirrored, rotated or shifted by parts of a pixel."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.ingest.config import IngestConfig
from components.ingest.landmarks import find_landmarks
from components.ingest.overlap_search import OverlapSearch
from components.ingest.run import ingest_dataset
from components.ingest.sources.synthetic_photo import draw_photo
from components.shared.data.manifest import Manifest, make_splits, read_manifest
from components.shared.services.store import Store
from components.split.leak_check import LeakError, check_leaks
from components.split.related_images import related_images
from tests.components.ingest.version_files import kept
from tests.tiles_of_photos import SIDE, cut


def overlaps_of(tiles: list[np.ndarray]) -> set[tuple[int, int]]:
    landmarks = np.stack([find_landmarks(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)) for tile in tiles])
    contents = [cv2.imencode(".png", tile)[1].tobytes() for tile in tiles]
    search = OverlapSearch(landmarks.__getitem__, contents.__getitem__, IngestConfig().overlap)
    number = len(tiles)
    every = np.ones(number, bool)
    unknown, nothing = np.full(number, -1), np.zeros((0, 2), np.int64)
    found = search.find(np.arange(number), every, unknown, nothing, transitive=False)
    return set(zip(found["first"].tolist(), found["second"].tolist(), strict=True))


@pytest.mark.parametrize(("shared", "least"), [(0.25, 0.95), (0.5, 0.99)])
def test_finds_overlaps_of_this_size_and_nothing_else(photos: list[np.ndarray], shared: float, least: float) -> None:
    rng = np.random.default_rng(7)
    tiles, places = [], []
    for number in range(80):
        width = rng.uniform(shared, 1)
        shift = SIDE * np.array([1 - width, 1 - shared / width])
        photo = number % len(photos)
        x, y = rng.uniform(1, [800 - 2 * SIDE, 600 - 2 * SIDE])
        places += [(photo, x, y), (photo, x + shift[0], y + shift[1])]
        tiles += [cut(photos[photo], x, y), cut(photos[photo], *places[-1][1:], turn=rng.integers(8))]
    found = overlaps_of(tiles)

    wanted = {(first, first + 1) for first in range(0, len(tiles), 2)}
    assert len(found & wanted) >= least * len(wanted)
    for first, second in found:  # other pairs overlap by chance
        apart = np.abs(np.subtract(places[first], places[second]))
        assert apart[0] == 0
        assert apart[1:].max() < SIDE


def test_neighbours_without_a_common_area_are_not_joined(photos: list[np.ndarray]) -> None:
    tiles = []
    for photo in photos:
        for y in range(0, 600 - SIDE, SIDE):
            tiles += [cut(photo, x, y, turn=x % 8) for x in range(0, 800 - SIDE, SIDE)]
    assert len(tiles) == 72
    assert overlaps_of(tiles) == set()


def test_similar_cracks_of_different_photos_are_not_joined() -> None:
    """These small tiles show cracks. A search that compares only their whole areas finds 16 wrong overlaps."""
    drawn = [draw_photo(number, seed=4, width=128, height=128).image for number in range(600)]
    tiles = [cv2.resize(photo, (64, 64), interpolation=cv2.INTER_AREA) for photo in drawn]
    assert overlaps_of(tiles) == set()


def test_tiles_without_structure_do_not_overlap() -> None:
    flat = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in (90, 90, 140)]
    noise = np.random.default_rng(0).integers(0, 3, (SIDE, SIDE, 3), np.uint8)
    assert overlaps_of([*flat, 100 + noise, np.zeros((SIDE, 3 * SIDE, 3), np.uint8)]) == set()


def write_folder(folder: Path, photos: list[np.ndarray]) -> Path:
    """Write 24 tiles that do not overlap: 8 of each photo, named PHOTO_NUMBER.png, half of them as cracks."""
    for number, photo in enumerate(photos):
        for tile in range(8):
            x, y = 150 * (tile % 4) + 10, 200 * (tile // 4) + 10
            write(folder / ("crack", "no_crack")[tile % 2] / f"{number}_{tile}.png", cut(photo, x, y))
    return folder


def write(path: Path, tile: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), tile)


def ingest(data: Path, store: Store, tmp_path: Path, **config: object) -> tuple[Manifest, dict]:
    parsed = IngestConfig.model_validate({"store": store.uri, "min_images": 5, "max_refused": 0.4, **config})
    result = ingest_dataset(str(data), tmp_path / "manifest", tmp_path / "page.html", parsed)
    manifest = read_manifest(tmp_path / "manifest")
    return manifest, json.loads(kept(store, result.digest, "report.json"))


def groups(manifest: Manifest) -> dict[str, str]:
    names = manifest.table["path"].str.split("/").str[-1]
    return dict(zip(names, manifest.table["group_id"], strict=True))


def test_overlap_joins_two_photos_and_the_report_says_so(
    photos: list[np.ndarray], store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path / "walls", photos)
    write(folder / "crack" / "2_8.png", cut(photos[0], 60.5, 10, turn=5))  # overlaps 0_0, but it is named photo 2
    photo = r"^(\d)_"
    manifest, report = ingest(folder, store, tmp_path, group_pattern=photo)

    assert set(groups(manifest).values()) == {"walls:0", "walls:1"}
    assert report["photos_joined"] == [["walls:0", "walls:2"]]
    assert "Photos that overlap" in (tmp_path / "page.html").read_text()
    assert "the first is walls:0 and walls:2" in caplog.text

    related = related_images(store, manifest.digest)
    in_test = manifest.table["path"] == "crack/2_8.png"
    splits = make_splits(manifest.table[["sample_id"]].assign(split=np.where(in_test, "test", "train")))
    with pytest.raises(LeakError, match="images overlap, but are in different splits"):
        check_leaks(manifest, splits, {"overlap": related["overlap"]})

    apart, report = ingest(folder, store, tmp_path, group_pattern=photo, overlap=None)
    assert set(groups(apart).values()) == {"walls:0", "walls:1", "walls:2"}
    assert report["overlaps"] == 0


def test_overlapping_tiles_with_different_labels_are_counted_and_shown(
    photos: list[np.ndarray], store: Store, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "walls", photos)
    write(folder / "no_crack" / "other.png", cut(photos[0], 25.5, 10))  # overlaps 0_0, which is a crack
    write(folder / "crack" / "same.png", cut(photos[1], 25.5, 10))  # overlaps 1_0, which is a crack, too
    manifest, report = ingest(folder, store, tmp_path)

    assert groups(manifest)["other.png"] == groups(manifest)["0_0.png"]
    assert report["overlaps"] == 2
    assert (report["overlaps_with_both_labels"], report["groups_with_both_labels"]) == (1, 1)
    table = (tmp_path / "page.html").read_text().partition("Overlapping tiles with different labels")[2]
    shown = table[: table.index("</table>")]
    assert 'alt="no_crack/other.png"' in shown
    assert 'alt="crack/0_0.png"' in shown
    assert "same.png" not in shown


def test_new_tile_joins_the_group_that_it_overlaps(photos: list[np.ndarray], store: Store, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "walls", photos)
    before = groups(ingest(folder, store, tmp_path)[0])
    assert len(set(before.values())) == 24

    write(folder / "crack" / "new.png", cut(photos[1], 40, 10))
    write(folder / "crack" / "between.png", cut(photos[2], 85, 10))  # overlaps 2_0 and 2_1
    manifest, report = ingest(folder, store, tmp_path)
    after = groups(manifest)

    assert after == before | {"new.png": before["1_0.png"]}
    assert [entry["path"] for entry in report["quarantine"]] == ["crack/between.png"]
    assert report["overlaps"] == 1

    write(folder / "crack" / "another.png", cut(photos[1], 50, 60, turn=3))
    again = groups(ingest(folder, store, tmp_path)[0])
    assert again["new.png"] == again["another.png"] == before["1_0.png"]


def test_a_source_that_overlaps_everywhere_is_named_before_training(
    photos: list[np.ndarray], store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, x in enumerate(range(0, 640, 40)):
        write(tmp_path / "walls" / ("crack", "no_crack")[number % 2] / f"{number}.png", cut(photos[0], x, 100))
    manifest, report = ingest(tmp_path / "walls", store, tmp_path)

    assert len(set(groups(manifest).values())) == 1
    assert len(report["joined_too_much"]) == 2
    said = caplog.text
    assert "8 of the 8 tiles of class crack are in one group" in said
    assert "raise ingest.overlap" in said
    assert "raise ingest.overlap" in (tmp_path / "page.html").read_text()
