"""How much does each leak inflate a test number? The same small network is trained under several groupings.

Synthetic photos are cut into tiles anywhere, so tiles of a photo overlap. Some tiles are saved again, and some are
mirrored or rotated. Some labels are wrong, as in real collections. The file numbers run photo by photo. Other photos
are held out: all tiles of these *new photos* are the truth.

Each grouping splits the other tiles into training, validation and test. The test number is what a report would say.
Inflation is the test number minus the number of the same network on the new photos. Each seed draws other photos, so
the intervals of the inflation are t intervals over the seeds. The other intervals are means of the intervals that the
product reports.

With --data, the tiles are those of a source, such as SDNET2018 or UAV75. Each seed then holds out other photos.

    make study-leaks, or: python tests/studies/study_leaks.py [--seeds 3] [--data SOURCE [--photo PATTERN]]
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student_t

from components.ingest import duplicates
from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.ingest.sources.synthetic_photo import draw_photo
from components.predict.config import CorruptionConfig, PredictConfig
from components.predict.run import predict_splits
from components.shared.data.annotations.shapes import label_of_share
from components.shared.data.manifest import CLASSES, read_manifest
from components.shared.errors import InputError
from components.shared.results.estimates import estimate_metrics
from components.shared.results.predictions import read_predictions
from components.split.config import HeldOut, SplitConfig
from components.split.run import assign_splits
from components.train.config import TrainConfig
from components.train.run import train_candidate
from pipelines.local.embedded_stack import embedded_stack, prepare_mlflow

PHOTOS, NEW_PHOTOS, TILES_OF_PHOTO = 50, 30, 12
PHOTO_SIDE, TILE, INPUT = 256, 64, 32  # pixels
RESAVED, TURNED, WRONG_LABELS = 0.15, 0.15, 0.08  # shares of the tiles
HELD_OUT_SHARE = 0.4  # of the photos of a real source
PHOTO_IN_NAME = r"_p(\d+)"
METRICS = {"accuracy": "accuracy", "auroc": "AUROC"}
# Name of each grouping -> parameters of ingestion.
GROUPINGS: dict[str, dict[str, Any]] = {
    "random tiles": {"near_duplicate": 1.0, "overlap": None},
    "near duplicates, upright only": {"overlap": None},
    "near duplicates": {"overlap": None},
    "and overlaps": {},
    "and file order": {"group_by": "file order"},
    "by photo": {"group_pattern": PHOTO_IN_NAME},
}
UPRIGHT_ONLY = "near duplicates, upright only"
TRAINING = {
    "architecture": "resnet10t",
    "precision": "fp32",  # auto measures the precision again in each new store
    "weights": "none",
    "input_size": INPUT,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "label_smoothing": 0.0,
    "class_balance": "sampling",
    "augment": ({"HorizontalFlip": {}},),
}


def main() -> None:
    """Run the study. Print its table after each seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80, help="length of each training")
    parser.add_argument("--data", help="a source with real tiles, as in docs/data.md")
    parser.add_argument("--photo", help="regular expression; its first group matches the photo in a file name")
    given = parser.parse_args()

    started = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory() as scratch, embedded_stack(Path(scratch) / "workdir") as environment:
        os.environ.update(environment)
        prepare_mlflow(Path(scratch) / "workdir", TrainConfig.model_fields["experiment"].default)
        for seed in range(1, given.seeds + 1):
            folder = Path(scratch) / f"seed-{seed}"
            if given.data is None:
                draw(folder, seed)
            else:
                copy_real(given.data, given.photo, folder, seed)
            for name in GROUPINGS:
                rows.append({"grouping": name, "seed": seed, **measure(folder, name, seed, given.steps)})
                print(f"seed {seed}, {name}: {time.monotonic() - started:.0f} s", flush=True)
            show(pd.DataFrame(rows), time.monotonic() - started)


def draw(folder: Path, seed: int) -> None:
    """Draw photos and cut them into tiles: the folders `tiles` and `new`."""
    rng = np.random.default_rng(seed)
    number = 0
    for photo in range(1, PHOTOS + NEW_PHOTOS + 1):
        part = folder / ("tiles" if photo <= PHOTOS else "new")
        for image, label in cut(photo, seed, rng):
            shown_label = 1 - label if rng.random() < WRONG_LABELS else label
            for copy in copies(image, rng) if part.name == "tiles" else [image]:
                number += 1
                path = part / CLASSES[shown_label] / f"{number:05d}_p{photo}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), copy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 96))])


def cut(photo: int, seed: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, int]]:
    """Cut tiles out of a photo, and yield each with its label. Tiles with too little of a crack are left out."""
    drawn = draw_photo(photo, seed, PHOTO_SIDE, PHOTO_SIDE, TILE)
    for left, top in rng.integers(0, PHOTO_SIDE - TILE + 1, (TILES_OF_PHOTO, 2)).tolist():
        inside = np.s_[top : top + TILE, left : left + TILE]
        label = label_of_share(float(drawn.mask[inside].mean()))
        if label is not None:
            yield drawn.image[inside], label


def copies(image: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the tile, and sometimes a second one that is the same, and one that is mirrored or rotated."""
    images = [image]
    if rng.random() < RESAVED:
        images.append(image)
    if rng.random() < TURNED:
        turn = int(rng.integers(1, 8))
        mirrored = image[:, ::-1] if turn >= 4 else image
        images.append(np.rot90(mirrored, turn % 4))
    return images


def copy_real(data: str, pattern: str | None, folder: Path, seed: int) -> None:
    """Copy the tiles of a source into the folders `tiles` and `new`, in the order of its files."""
    files = folder / "ingested"
    files.mkdir(parents=True)
    config = IngestConfig(store="s3://crack/real", group_pattern=pattern, overlap=None)
    ingest_dataset(data, files / "manifest", files / "page.html", config)
    table = read_manifest(files / "manifest").table.sort_values("path")
    photos = pd.factorize(table["group_id"])[0]
    count = photos.max() + 1
    new = np.random.default_rng(seed).permutation(count)[: round(HELD_OUT_SHARE * count)]

    root = Path(data.partition("?")[0])
    for number, (path, label, photo) in enumerate(zip(table["path"], table["label"], photos, strict=True)):
        part = folder / ("new" if photo in new else "tiles") / CLASSES[label]
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, part / f"{number:05d}_p{photo}{Path(path).suffix}")


def measure(folder: Path, grouping: str, seed: int, steps: int) -> dict[str, Any]:
    """Ingest, split, train and predict with a grouping. Return one row of numbers; it is empty if it is refused."""
    out = folder / grouping.replace(" ", "-").replace(",", "")
    out.mkdir()
    store = {"store": f"s3://crack/{folder.name}-{out.name}", "cache": str(out / "cache")}
    manifest, splits, page = str(out / "manifest"), str(out / "splits"), str(out / "page.html")
    data = f"{folder / 'tiles'}?layout=folders,{folder / 'new'}?layout=folders&group_pattern={PHOTO_IN_NAME}"
    only_upright = mock.patch.object(duplicates, "TURNS", [duplicates.UPRIGHT])
    try:
        with only_upright if grouping == UPRIGHT_ONLY else nullcontext():
            ingest_dataset(data, manifest, page, IngestConfig.model_validate({**store, **GROUPINGS[grouping]}))
    except InputError as error:
        print(error)
        return {}

    held_out = HeldOut(source="new")
    split_config = SplitConfig(**store, val=0.15, test=0.2, robustness=held_out, leak_sample=0)
    split = assign_splits(manifest, splits, page, split_config, seed)
    train_config = TrainConfig.model_validate({**store, **TRAINING, "candidate": "cnn", "steps": steps})
    train_candidate(manifest, splits, train_config, seed, out.name + folder.name, str(out / "model"), page)
    predict_config = PredictConfig(**store, train_sample=30, corruptions=CorruptionConfig(max_images=0), workers=0)
    predict_splits(str(out / "model"), manifest, splits, predict_config, seed, str(out / "answers"))

    tiles = read_manifest(manifest).table.merge(split.table, on="sample_id")
    return {**groups_and_leaks(tiles[tiles["source"] == "tiles"]), **numbers(out / "answers")}


def groups_and_leaks(tiles: pd.DataFrame) -> dict[str, float]:
    """Return the number of groups, and the share of test tiles whose photo has a tile in training."""
    photos = tiles["path"].str.extract(PHOTO_IN_NAME)[0]
    trained = set(photos[tiles["split"] == "train"])
    return {"groups": tiles["group_id"].nunique(), "leaks": photos[tiles["split"] == "test"].isin(trained).mean()}


def numbers(answers: Path) -> dict[str, float]:
    """Return each metric on the test split and on the new photos, with its interval."""
    predictions = read_predictions(answers)
    found: dict[str, float] = {}
    for where, split in (("test", "test"), ("new", "robustness")):
        rows = predictions.clean(split)
        p_crack = 1 / (1 + np.exp(rows["logit_0"] - rows["logit_1"])).to_numpy(np.float64)
        estimates = estimate_metrics(rows["label"].to_numpy(), p_crack, rows["group_id"].to_numpy(), 0.5)
        for metric in METRICS:
            estimate = estimates[metric]
            found |= {f"{where} {metric}": estimate.value, f"{where} {metric} low": estimate.low}
            found |= {f"{where} {metric} high": estimate.high}
    return found


def show(rows: pd.DataFrame, seconds: float) -> None:
    """Print the table."""
    headers = ["grouping", "groups", "photo also in training"]
    for metric in METRICS.values():
        headers += [f"test {metric}", "new photos", "inflation"]
    table = Table(*headers)
    for name in GROUPINGS:
        own = rows[rows["grouping"] == name].dropna()
        if own.empty:
            table.add_row(name, "refused")
            continue
        cells = [name, f"{own['groups'].mean():.0f}", f"{own['leaks'].mean():.0%}"]
        for metric in METRICS:
            for where in ("test", "new"):
                means = own[[f"{where} {metric}", f"{where} {metric} low", f"{where} {metric} high"]].mean()
                cells.append("{:.3f} [{:.3f}, {:.3f}]".format(*means))
            cells.append(inflation(own[f"test {metric}"] - own[f"new {metric}"]))
        table.add_row(*cells)
    table.caption = f"{rows['seed'].nunique()} seeds, {seconds:.0f} s, load {os.getloadavg()[0]:.0f}"
    Console(width=190).print(table)


def inflation(differences: pd.Series) -> str:
    """Return the mean of the differences with its t interval over the seeds."""
    count = len(differences)
    if count < 2:
        return f"{differences.mean():+.3f}"
    half = student_t.ppf(0.975, count - 1) * differences.std() / np.sqrt(count)
    return f"{differences.mean():+.3f} [{differences.mean() - half:+.3f}, {differences.mean() + half:+.3f}]"


if __name__ == "__main__":
    main()
