"""A network's answers on the splits, before and after fine-tuning."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from components.predict.config import PredictConfig
from components.predict.views import CLEAN, ViewDataset, corrupted_views, draw_views
from components.shared.data.manifest import read_manifest, read_splits, rows_of
from components.shared.data.versions import fetch_for_step
from components.shared.events import progress
from components.shared.network.checkpoint import load_network, read_info, weights_digest
from components.shared.network.device import pick_device, pick_precision
from components.shared.network.network import Network, build_network
from components.shared.network.tiles import loader
from components.shared.results.predictions import VIEWS, write_predictions
from components.shared.reuse import reuse, run_key
from components.shared.services.store import Store

HELD_OUT = ("val", "test", "robustness")
FACTS = ["sample_id", "split", "group_id", "source", "surface", "label", "corruption", "severity"]


def predict_splits(
    model_folder: str, manifest_path: str, splits_path: str, config: PredictConfig, seed: int, folder: str
) -> None:
    """Predict a candidate's held-out splits and a sample of its training split, before and after fine-tuning.

    After fine-tuning, corrupted views of robustness images too, where the configuration asks for them. The answers to
    clean images after fine-tuning are float32 whatever the precision, since the registered version must repeat them.

    Args:
        model_folder: The saved model.
        manifest_path: The data set version's manifest.
        splits_path: Table (sample_id, split).
        config: Batch, sample and precision.
        seed: Chooses the training sample.
        folder: Gets predictions.parquet, embeddings.npy and, with corrupted views, views.jpg.
    """
    store = Store(config.store)
    manifest, splits = read_manifest(manifest_path), read_splits(splits_path)
    key = run_key("predict", manifest.digest, splits.digest, weights_digest(model_folder), config.identity(), seed)

    def produce(out: Path) -> None:
        parts = {name: rows_of(manifest, splits, name).assign(split=name) for name in (*HELD_OUT, "train")}
        parts["train"] = _sample(parts["train"], config.train_sample, seed)
        rows = pd.concat(parts.values(), ignore_index=True).assign(**CLEAN)
        views = corrupted_views(parts["robustness"], config.corruptions)
        tiles = fetch_for_step(config, manifest)
        network = build_network(read_info(model_folder)).eval()
        before, _ = run_network(network, rows, tiles, config, "before fine-tuning")
        network = load_network(model_folder)
        after, embeddings = run_network(network, rows, tiles, exact(config), "after fine-tuning")
        worse = after.head(0)
        if len(views):
            worse, _ = run_network(network, views, tiles, config, "corrupted images")
            (out / VIEWS).write_bytes(draw_views(parts["robustness"], tiles, config.corruptions))
        conditions = {"before": before, "after": pd.concat([after, worse])}
        tables = [table.assign(condition=condition) for condition, table in conditions.items()]
        write_predictions(pd.concat(tables, ignore_index=True), embeddings, out, gigaflops(network))

    reuse(store, key, Path(folder), produce)


def gigaflops(network: Network) -> float:
    """10^9 floating-point operations of the network on one image; a multiplication and its addition count as two."""
    image = torch.zeros(1, 3, network.input_size, network.input_size, dtype=torch.uint8, device=network.mean.device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops() / 1e9


def exact(config: PredictConfig) -> PredictConfig:
    """The configuration for answers that a CPU repeats to 1e-5: measured is what will be served."""
    return config.model_copy(update={"precision": "fp32"})


def _sample(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    if len(rows) <= count:
        return rows
    chosen = np.random.default_rng([seed, 1]).choice(len(rows), count, replace=False)
    return rows.iloc[np.sort(chosen)]


def run_network(
    network: Network, rows: pd.DataFrame, tiles: Path, config: PredictConfig, note: str
) -> tuple[pd.DataFrame, np.ndarray]:
    """Run a network over images.

    Args:
        network: In eval mode.
        rows: Manifest rows with their split and view (`corruption`, `severity`).
        tiles: Folder of the fetched data set version.
        config: Batch and precision.
        note: For the progress display.

    Returns:
        The prediction table without its condition, in the order of `rows`, and the embeddings (rows, D) float32.
    """
    batches = list(_batches(network, rows, tiles, config, note))
    logits = np.concatenate([batch[0] for batch in batches]).astype(np.float64)
    embeddings = np.concatenate([batch[1] for batch in batches])
    table = rows[FACTS].reset_index(drop=True)
    table["logit_0"], table["logit_1"] = logits.T
    return table, embeddings


def _batches(
    network: Network, rows: pd.DataFrame, tiles: Path, config: PredictConfig, note: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    device = pick_device()
    network = network.to(device).to(memory_format=torch.channels_last)
    bf16 = pick_precision(config.precision, device) == "bf16"
    dataset = ViewDataset(rows, tiles, network.input_size)
    done = 0
    full = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # TF32 keeps 10 of float32's 23 bits
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16), full:
        for images, _ in loader(dataset, config.batch_size, config.workers):
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            logits, embeddings = network.logits_and_embeddings(images)
            yield logits.float().cpu().numpy(), embeddings.float().cpu().numpy()
            done += len(images)
            progress(done, len(rows), note)
