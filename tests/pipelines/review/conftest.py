"""A run on drawn tiles: its data set version in the store, its splits, and the answers of two candidates."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.ingest.sources.synthetic import draw_dataset
from components.shared.data.manifest import SPLITS, Manifest, read_manifest
from components.shared.results.calibration import Calibration, write_calibration
from components.shared.results.predictions import write_predictions
from components.shared.services.store import Store
from tests.browser import browser as browser

# The source's file names: with spaces, umlauts, a plus sign, and the same name in two folders.
NAMES = ("Brücke 1+2", "Straße 3", "pier, south", 'wall "b"')
WRONG = 6  # tiles whose label in the source is wrong


@dataclass(frozen=True)
class Run:
    """A finished run."""

    store: Store
    artifacts: Path
    source: Path
    manifest: Manifest
    truth: dict[str, int]  # sample_id -> what the tile shows

    def ingest(self) -> Manifest:
        """Ingest the source again."""
        config = IngestConfig(store=self.store.uri, min_images=5, group_pattern="^(.*)_")
        out = self.artifacts / "again"
        ingest_dataset(str(self.source), out, self.artifacts / "again.html", config)
        return read_manifest(out)


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Run:
    source, job = tmp_path / "source", tmp_path / "run" / "job"
    truth_of_path = {}
    for number, tile in enumerate(draw_dataset(96, seed=5, size=64)):
        wrong = number % 16 == 7
        name = f"{NAMES[number // 8 % 4]} {number // 8}_{number % 8}.png"
        folder = source / ("no_crack", "crack")[tile.label ^ wrong]
        folder.mkdir(parents=True, exist_ok=True)
        content = cv2.imencode(".png", tile.image[..., ::-1])[1].tobytes()
        (folder / name).write_bytes(content)
        truth_of_path[f"{folder.name}/{name}"] = tile.label

    (job / "ingest").mkdir(parents=True)
    found = Run(store, job, source, None, {})
    manifest = found.ingest()
    (job / "again").rename(job / "ingest" / "manifest")
    truth = dict(zip(manifest.table["sample_id"], manifest.table["path"].map(truth_of_path), strict=True))
    for number, name in enumerate(("cnn", "vit")):
        write_candidate(job, number, name, manifest.table, np.array(list(truth.values())))
    return Run(store, job, source, manifest, truth)


def write_candidate(job: Path, number: int, name: str, tiles: pd.DataFrame, truth: np.ndarray) -> None:
    """Write the answers of a candidate that is mostly right about what the tiles show."""
    rng = np.random.default_rng(number)
    logit = (2 * truth - 1) * 2.5 + rng.normal(0, 1.2, len(tiles))
    groups = sorted(tiles["group_id"].unique())
    split_of = {group: ("train", "train", *SPLITS)[position % 6] for position, group in enumerate(groups)}
    table = tiles[["sample_id", "group_id", "source", "surface", "label"]].assign(
        split=tiles["group_id"].map(split_of),
        condition="after", corruption="clean", severity=0, logit_0=0.0, logit_1=logit,
    )  # fmt: skip
    features = rng.normal(0, 1, (len(tiles), 5))
    features[:, 0] += 3 * truth

    ending = f"-{number + 1}" if number else ""
    write_predictions(table, features, job / f"predict{ending}" / "predictions")
    dossier = job / f"gate{ending}" / "dossier"
    dossier.mkdir(parents=True)
    (dossier / "verdict.json").write_text(json.dumps({"candidate": name}))
    write_calibration(Calibration(temperature=1.5, threshold=0.4), dossier / "calibration.json")


@pytest.fixture
def wrong_tiles(run: Run) -> set[str]:
    """The tiles whose label in the source is wrong."""
    labels = dict(zip(run.manifest.table["sample_id"], run.manifest.table["label"], strict=True))
    found = {tile for tile, shown in run.truth.items() if labels[tile] != shown}
    assert len(found) == WRONG
    return found
