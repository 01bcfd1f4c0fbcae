"""Two sources are split separately, then together: no image moves, and images that cannot stay are named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.shared.data.manifest import read_manifest
from components.shared.services.store import Store
from components.split.config import SplitConfig
from components.split.run import assign_splits
from tests.components.ingest.version_files import kept

Write = Callable[..., Path]


def ingest_and_split(data: str, store: Store, folder: Path) -> pd.DataFrame:
    """Return the rows of the manifest with their splits, by sample_id."""
    paths = [folder / name for name in ("manifest", "splits", "page.html")]
    ingest_dataset(data, paths[0], paths[2], IngestConfig(store=store.uri, min_images=5))
    config = SplitConfig(store=store.uri, val=0.2, test=0.2, robustness=0.2, min_images=1)
    splits = assign_splits(*paths, config, seed=1)
    return read_manifest(paths[0]).table.merge(splits.table, on="sample_id").set_index("sample_id")


def quarantine(store: Store, folder: Path) -> dict[str, str]:
    report = json.loads(kept(store, read_manifest(folder / "manifest").digest, "report.json"))
    return {f"{entry['source']}/{entry['path']}": entry["reason"] for entry in report["quarantine"]}


@pytest.fixture
def other(tiles: Path, tmp_path: Path, write_tile: Write) -> Path:
    """A second source: new tiles, copies of the first source's tiles, and for one tile a near duplicate."""
    folder = tmp_path / "decks"
    for index in range(24):
        write_tile(folder / ("crack" if index % 2 else "no_crack") / f"own_{index}.jpg", seed=100 + index)
    for path in tiles.rglob("*.jpg"):
        shutil.copy(path, folder / path.parent.name / path.name)
    (folder / "crack" / "p0_1.jpg").unlink()
    write_tile(folder / "crack" / "near.jpg", seed=1, quality=60)
    return folder


def test_no_image_of_either_source_moves(
    tiles: Path, other: Path, store: Store, tmp_path: Path, write_tile: Write
) -> None:
    first = ingest_and_split(str(tiles), store, tmp_path)
    second = ingest_and_split(str(other), store, tmp_path)
    before = first[["split"]].join(second["split"], how="outer", lsuffix="_first", rsuffix="_second")
    both = before.dropna()

    assert len(both) == 23
    assert (both["split_first"] == both["split_second"]).all()
    before = before["split_first"].fillna(before["split_second"])
    quarantined = None
    for seed in (300, 301):  # first both sources as they are, and then both with one more tile
        write_tile(tiles / "crack" / f"new_{seed}.jpg", seed=seed)
        together = ingest_and_split(f"{tiles},{other}", store, tmp_path)
        assert (together["split"] == before.reindex(together.index).fillna(together["split"])).all()
        (near,) = before.index.difference(together.index)
        assert second.loc[near, "path"] == "crack/near.jpg"
        reasons = quarantine(store, tmp_path)
        assert quarantined in (None, reasons)
        quarantined = reasons
    assert "belongs to 2 groups that earlier data set versions keep apart" in quarantined["decks/crack/near.jpg"]


def test_source_that_was_split_together_with_another_keeps_its_splits_alone(
    tiles: Path, other: Path, store: Store, tmp_path: Path
) -> None:
    alone = tmp_path / "manifest", tmp_path / "page.html"
    ingest_dataset(str(tiles), *alone, IngestConfig(store=store.uri, min_images=5))
    together = ingest_and_split(f"{tiles},{other}", store, tmp_path)["split"]
    again = ingest_and_split(str(tiles), store, tmp_path)["split"]
    assert (again == together[again.index]).all()
