"""Compute the answers of a network to the tiles of the splits, before and after fine-tuning."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from components.predict.config import PredictConfig
from components.predict.views import CLEAN, ViewDataset, corrupted_views, draw_views
from components.shared.data.manifest import Manifest, Splits, read_manifest, read_splits, rows_of
from components.shared.data.versions import fetch_for_step
from components.shared.events import progress
from components.shared.network.device import pick_device, pick_precision
from components.shared.network.network import Network, build_network
from components.shared.network.saved_network import load_network, read_info, weights_digest
from components.shared.network.tiles import loader
from components.shared.results.predictions import VIEWS, write_predictions
from components.shared.reuse import reuse, run_key
from components.shared.services.store import Store

HELD_OUT_SPLITS = ("val", "test", "robustness")
COPIED_COLUMNS = ["sample_id", "split", "group_id", "source", "surface", "label", "corruption", "severity"]


def predict_splits(
    model_folder: str, manifest_path: str, splits_path: str, config: PredictConfig, seed: int, folder: str
) -> None:
    """Compute a candidate's answers to the held-out splits and to a sample of the training split.

    The answers are computed before and after fine-tuning. After fine-tuning, the network also classifies the corrupted
    robustness tiles. Its answers to uncorrupted tiles are always computed in float32, because the registered model
    version must give the same answers.

    Args:
        model_folder: The saved model.
        manifest_path: The data set version's manifest.
        splits_path: Table (sample_id, split).
        config: Gives the batch size, the size of the sample, the corrupted views and the precision.
        seed: Seed of the sample of the training split.
        folder: Folder for predictions.parquet and embeddings.npy. If there are corrupted tiles, also views.jpg.
    """
    store = Store(config.store)
    manifest = read_manifest(manifest_path)
    splits = read_splits(splits_path)
    key = run_key("predict", manifest.digest, splits.digest, weights_digest(model_folder), config.identity(), seed)

    def produce(out: Path) -> None:
        rows = _rows_to_predict(manifest, splits, config.train_sample, seed)
        robustness_rows = rows[rows["split"] == "robustness"].drop(columns=list(CLEAN))
        views = corrupted_views(robustness_rows, config.corruptions)
        tiles = fetch_for_step(config, manifest)

        network = build_network(read_info(model_folder)).eval()
        before, _ = run_network(network, rows, tiles, config, "before fine-tuning")
        tables = [before.assign(condition="before")]

        network = load_network(model_folder)
        after, embeddings = run_network(network, rows, tiles, exact(config), "after fine-tuning")
        tables.append(after.assign(condition="after"))

        if len(views):
            corrupted, _ = run_network(network, views, tiles, config, "corrupted tiles")
            tables.append(corrupted.assign(condition="after"))
            (out / VIEWS).write_bytes(draw_views(robustness_rows, tiles, config.corruptions))

        write_predictions(pd.concat(tables, ignore_index=True), embeddings, out, gigaflops(network))

    reuse(store, key, Path(folder), produce)


def _rows_to_predict(manifest: Manifest, splits: Splits, train_sample: int, seed: int) -> pd.DataFrame:
    """Return the uncorrupted tiles to predict: all held-out splits, and a random sample of the training split."""
    parts = [rows_of(manifest, splits, name).assign(split=name) for name in HELD_OUT_SPLITS]

    train = rows_of(manifest, splits, "train").assign(split="train")
    if len(train) > train_sample:
        chosen = np.random.default_rng([seed, 1]).choice(len(train), train_sample, replace=False)
        train = train.iloc[np.sort(chosen)]

    return pd.concat([*parts, train], ignore_index=True).assign(**CLEAN)


def gigaflops(network: Network) -> float:
    """Return the network's floating-point operations per tile, in units of 10^9. A multiply-add counts as two."""
    image = torch.zeros(1, 3, network.input_size, network.input_size, dtype=torch.uint8, device=network.mean.device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops() / 1e9


def exact(config: PredictConfig) -> PredictConfig:
    """Return the configuration with precision fp32. With fp32, P(crack) differs by at most 1e-5 between CPUs."""
    return config.model_copy(update={"precision": "fp32"})


def run_network(
    network: Network, rows: pd.DataFrame, tiles: Path, config: PredictConfig, note: str
) -> tuple[pd.DataFrame, np.ndarray]:
    """Run a network over tiles.

    Args:
        network: A network in eval mode.
        rows: Manifest rows with their split and view (`corruption`, `severity`), not empty.
        tiles: Folder of the fetched data set version.
        config: Gives the batch size, the precision and the number of workers.
        note: Text for the progress lines.

    Returns:
        The prediction table without the column `condition`, in the order of `rows`, and the embeddings, float32
        (rows, D).
    """
    device = pick_device()
    network = network.to(device).to(memory_format=torch.channels_last)
    use_bf16 = pick_precision(config.precision, device) == "bf16"
    batches = loader(ViewDataset(rows, tiles, network.resize), config.batch_size, config.workers)

    # TF32 keeps only 10 of the 23 bits of a float32's fraction, so answers in fp32 must not use it.
    no_tf32 = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    logits, embeddings = [], []
    predicted = 0
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=use_bf16), no_tf32:
        for images, _ in batches:
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            batch_logits, batch_embeddings = network.logits_and_embeddings(images)
            logits.append(batch_logits.float().cpu().numpy())
            embeddings.append(batch_embeddings.float().cpu().numpy())
            predicted += len(images)
            progress(predicted, len(rows), note)

    table = rows[COPIED_COLUMNS].reset_index(drop=True)
    table[["logit_0", "logit_1"]] = np.concatenate(logits).astype(np.float64)
    return table, np.concatenate(embeddings)
