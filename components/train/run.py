"""Check the settings, fetch the data, train a candidate or reuse a finished training, and record it in MLflow."""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from components.shared.data.manifest import read_manifest, read_splits, rows_of
from components.shared.data.versions import fetch_for_step
from components.shared.errors import InputError
from components.shared.events import inform, log
from components.shared.network.device import count_devices, pick_device
from components.shared.network.model_info import ModelInfo
from components.shared.network.weights import known_digest
from components.shared.reuse import MARKER, reuse, run_key
from components.shared.services import mlflow_runs
from components.shared.services.store import Store
from components.train.config import TrainConfig
from components.train.dry_run import describe_network, dry_run
from components.train.mlflow_record import record_end, record_machine_use, record_start
from components.train.precision import measure_precision, stored_precision
from components.train.task import Task


def train_candidate(
    manifest_path: str, splits_path: str, config: TrainConfig, seed: int, job: str, model_folder: str, page_path: str
) -> dict[str, float]:
    """Train a candidate, and record the training in MLflow. If the same training is finished, reuse its result.

    Args:
        manifest_path: The data set version's manifest.
        splits_path: Table (sample_id, split).
        config: The settings of the training.
        seed: Seed of the initial weights, the order of the tiles and the augmentation.
        job: The pipeline job's id.
        model_folder: Folder for the saved model.
        page_path: File to write: the page with the training curves.

    Returns:
        The most important numbers: `val_loss` (the lowest validation loss, in nats), `val_accuracy` (of the same
            validation), `images_per_second`, and `training_seconds`.

    Raises:
        InputError: The candidate cannot be trained on this machine or with these settings.
        PreemptedError: SIGTERM was received, and a checkpoint was written.
    """
    # These checks are fast, so they come before data is fetched.
    device = pick_device(config.require_gpu)
    count_devices(config.devices)
    info = describe_network(config, seed)
    store = Store(config.store)
    config = config.model_copy(update={"precision": _precision(config, info, device, store)})
    run_id = mlflow_runs.candidate_run(config.experiment, job, config.candidate)
    manifest = read_manifest(manifest_path)
    splits = read_splits(splits_path)
    train_rows = rows_of(manifest, splits, "train")
    val_rows = rows_of(manifest, splits, "val")

    info = info.model_copy(
        update={
            "dataset_digest": manifest.digest,
            "split_digest": splits.digest,
            "weights_sha256": known_digest(config.weights),
            "tile_pixels": _tile_pixels(train_rows),
        }
    )
    key = run_key("train", config.identity(), info.model_dump(mode="json"), seed)
    record_start(run_id, config, seed, manifest, {"train": len(train_rows), "val": len(val_rows)})

    def produce(folder: Path) -> None:
        complete = dry_run(info, config)
        if complete.weights_resampled:
            inform(f"{complete.architecture} at {complete.input_size} px starts from {complete.initial_weights}")
        tiles = fetch_for_step(config, manifest)
        with record_machine_use(run_id):
            _train(Task(complete, train_rows, val_rows, tiles, config, seed, key, run_id), folder)

    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        reused = reuse(store, key, work, produce)
        record = json.loads((work / "training.json").read_text())
        shutil.copytree(work / "model", model_folder, dirs_exist_ok=True)
        shutil.copy(work / "training.html", page_path)
        record_end(run_id, record, work, key, reused)

    _delete_checkpoints(store, key)
    return _headline(record)


def _tile_pixels(rows: pd.DataFrame) -> int:
    """Return the median side of the tiles in pixels. As the side of a tile, we use the square root of its area."""
    return round(np.sqrt(rows["width"] * rows["height"]).median())


def _delete_checkpoints(store: Store, key: str) -> None:
    """Delete the checkpoints of a training if its result is in the store. Otherwise, a rerun needs the checkpoints."""
    try:
        if store.exists(f"runs/{key}/{MARKER}"):
            store.delete([name for name, _ in store.list(f"runs/{key}/checkpoints/")])
    except InputError as error:  # the training itself has succeeded
        log.warning("the checkpoints could not be deleted: %s", error)


def _precision(config: TrainConfig, info: ModelInfo, device: str, store: Store) -> str:
    """Return the precision of the training. If it is not known yet, measure now which precision is faster."""
    known = stored_precision(config, info, device, store)
    if known is not None:
        return known

    # The dry run comes first: if a setting is wrong, its error message is clear. The error of the measurement would
    # not be clear.
    dry_run(info, config)
    return measure_precision(config, info, device, store)


def _train(task: Task, folder: Path) -> None:
    # Imported here because a run that reuses finished work needs neither Lightning nor matplotlib.
    from components.train.fit import fit
    from components.train.page import write_training_page

    cracks = int(task.train["label"].sum())
    log.info("training %s on %d tiles, %d of them cracks", task.info.architecture, len(task.train), cracks)
    record = fit(task, folder / "model")
    (folder / "training.json").write_text(json.dumps(asdict(record)))
    write_training_page(record, task, folder)


def _headline(record: dict) -> dict[str, float]:
    best = min(record["history"], key=lambda point: point["val_loss"])
    return {
        "val_loss": best["val_loss"],
        "val_accuracy": best["val_accuracy"],
        "images_per_second": record["images"] / record["training_seconds"],
        "training_seconds": record["training_seconds"],
    }
