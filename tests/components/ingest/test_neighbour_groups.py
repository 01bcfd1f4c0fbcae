"""Groups from the order of the files are photos or parts of photos. They are refused where the order says nothing."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.ingest.config import IngestConfig
from components.ingest.neighbour_groups import join_neighbours
from components.ingest.run import ingest_dataset
from components.ingest.sources.synthetic import draw_dataset
from components.shared.data.manifest import CLASSES, Manifest, read_manifest
from components.shared.errors import InputError
from components.shared.services.store import Store
from tests.components.ingest.version_files import kept

TILES, SIDE = 300, 64
FIRST, SECOND, THIRD = "a" * 64, "b" * 64, "c" * 64


def write_numbered(folder: Path) -> dict[str, str]:
    """Draw tiles of 60 photos and number them in each class. Return a dict: path -> photo, which no name shows."""
    photos = {}
    for number, tile in enumerate(draw_dataset(TILES, 5, SIDE), start=1):
        path = f"{CLASSES[tile.label]}/{number}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / path), tile.image[..., ::-1])
        photos[path] = tile.group
    return photos


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("numbered") / "walls"
    return folder, write_numbered(folder)


def ingest(data: Path, store: Store, tmp_path: Path, group_by: str = "file order") -> tuple[Manifest, dict]:
    config = IngestConfig.model_validate({"store": store.uri, "group_by": group_by, "overlap": None})
    digest = ingest_dataset(str(data), tmp_path / "manifest", tmp_path / "page.html", config).digest
    return read_manifest(tmp_path / "manifest"), json.loads(kept(store, digest, "report.json"))


def test_groups_are_photos_or_parts_of_photos(numbered, store: Store, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    folder, photos = numbered
    manifest, report = ingest(folder, store, tmp_path)
    groups = manifest.table.assign(photo=manifest.table["path"].map(photos)).groupby("group_id")["photo"]
    sizes, photos_in_group = groups.size(), groups.nunique()

    assert sizes.sum() == TILES
    assert (sizes > 1).sum() >= 45
    assert (photos_in_group > 1).sum() <= 0.05 * (sizes > 1).sum()
    assert sizes.index[sizes > 1].str.fullmatch("neighbours-[0-9a-f]{64}").all()
    assert [hint["folder"] for hint in report["file_order"]] == ["crack", "no_crack"]
    assert all(hint["grouped"] and hint["far"] <= 0.05 < hint["near"] for hint in report["file_order"])
    assert "so neighbours that resemble each other share a group" in caplog.text
    page = (tmp_path / "page.html").read_text()
    assert "The largest groups of neighbouring files" in page


def test_without_the_parameter_the_order_is_only_a_hint(numbered, store: Store, tmp_path: Path) -> None:
    manifest, report = ingest(numbered[0], store, tmp_path, group_by="names")
    assert manifest.table["group_id"].is_unique
    assert [hint["grouped"] for hint in report["file_order"]] == [False, False]


def test_new_files_keep_the_groups_of_old_files(numbered, store: Store, tmp_path: Path) -> None:
    all_files, data = numbered[0], tmp_path / "walls"
    shutil.copytree(all_files, data)
    later = [path for path in data.glob("*/*.png") if int(path.stem) % 7 == 0 or int(path.stem) > 270]
    for path in later:
        path.unlink()
    before = ingest(data, store, tmp_path)[0].table.set_index("path")["group_id"]
    shutil.copytree(all_files, data, dirs_exist_ok=True)
    after, report = ingest(data, store, tmp_path)

    groups = after.table.set_index("path")["group_id"]
    assert len(groups) == TILES
    assert report["quarantine"] == []
    assert groups[before.index].equals(before)
    added = groups.drop(before.index)
    assert added.isin(before).sum() > 10
    assert (added[~added.isin(before)].value_counts() > 1).any()


def test_an_order_that_says_nothing_is_refused(numbered, store: Store, tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).permutation(TILES)
    for number, path in zip(numbers, sorted(numbered[0].glob("*/*.png")), strict=True):
        (tmp_path / "walls" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "walls" / path.parent.name / f"{number}.png")
    with pytest.raises(InputError) as caught:
        ingest(tmp_path / "walls", store, tmp_path)
    message = str(caught.value)
    assert message.startswith("ingest.group_by is 'file order', but in no folder the file numbers run photo by photo")
    assert "walls/crack (" in message
    assert "remove ingest.group_by, or name the photos" in message


def test_known_photos_leave_nothing_to_group(store: Store, tmp_path: Path) -> None:
    config = IngestConfig.model_validate({"store": store.uri, "group_by": "file order"})
    with pytest.raises(InputError, match="no folder has 50 tiles whose photo is not known; remove"):
        ingest_dataset("synthetic://?images=60&size=32", tmp_path / "manifest", tmp_path / "page.html", config)


def joined(groups: list[str], pairs: list[tuple[int, int]], fixed: set[str] = frozenset()) -> list[str]:
    return join_neighbours(pd.Series(groups, dtype="str"), np.array(pairs), fixed).tolist()


def test_names_of_joined_groups() -> None:
    assert joined([SECOND, FIRST, THIRD], [(0, 1)]) == [f"neighbours-{FIRST}"] * 2 + [THIRD]
    assert joined([SECOND, FIRST], [(0, 1)], fixed={SECOND}) == [SECOND, SECOND]
    assert joined([SECOND, "walls:IMG_1"], [(0, 1)]) == ["walls:IMG_1"] * 2


def test_named_photos_and_earlier_groups_are_never_joined_with_each_other() -> None:
    photos = ["walls:IMG_1", FIRST, "walls:IMG_2"]
    assert joined(photos, [(0, 1), (1, 2)]) == ["walls:IMG_1", "walls:IMG_1", "walls:IMG_2"]
    assert joined([FIRST, SECOND, THIRD], [(0, 1), (1, 2)], fixed={FIRST, THIRD}) == [FIRST, FIRST, THIRD]


def test_real_numbers_of_a_collection_whose_negative_numbers_say_nothing(
    real_data: Path, store: Store, tmp_path: Path
) -> None:
    """CCIC's Positive files run photo by photo, and its Negative files do not."""
    manifest, report = ingest(real_data / "ccic", store, tmp_path)
    assert [hint["folder"] for hint in report["file_order"]] == ["Positive"]
    neighbours = manifest.table[manifest.table["group_id"].str.startswith("neighbours-")]
    assert len(neighbours) > 100
    assert not (neighbours["label"] == 0).any()
