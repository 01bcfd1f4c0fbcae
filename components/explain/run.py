"""Explain a candidate: choose images, map them, measure the maps, draw the page."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from components.explain.config import ExplainConfig
from components.explain.faithfulness import blurred
from components.explain.grad_cam import Target, find_target, grad_cam
from components.explain.image_choice import choose_measured, choose_shown, decide
from components.explain.maps import explain_signed
from components.explain.measures import Sample, measure
from components.explain.page import told_of_shap, write_page
from components.explain.panels import Panel, draw_panel, write_panels
from components.shared.data.image import decode_mask
from components.shared.data.manifest import Manifest, read_manifest, read_splits
from components.shared.data.shards import ShardReader
from components.shared.data.versions import fetch_for_step
from components.shared.errors import InputError
from components.shared.events import progress, warn
from components.shared.network.checkpoint import load_network, weights_digest
from components.shared.network.device import pick_device
from components.shared.network.network import Network
from components.shared.network.tiles import decode_tile
from components.shared.results.calibration import read_calibration
from components.shared.results.measurements import write_measurements
from components.shared.results.predictions import read_predictions
from components.shared.reuse import reuse, run_key
from components.shared.services.store import Store

MEASUREMENTS, PAGE = "measurements.parquet", "page.html"
FEW = 30  # images in the split


def explain_model(
    model: str,
    manifest: str,
    splits: str,
    predictions: str,
    calibration: str,
    config: ExplainConfig,
    seed: int,
    out: str,
) -> None:
    """Explain a candidate's answers on the robustness split, or take finished explanations from the store.

    Args:
        model: The saved model's folder.
        manifest: The data set version's manifest.
        splits: Table (sample_id, split).
        predictions: The candidate's predictions folder.
        calibration: Its calibration.json.
        config: Samples and measures.
        seed: Draws the measured images and the random maps.
        out: Gets measurements.parquet, page.html and the panels as PNG.

    Raises:
        InputError: The robustness split has no predictions, or Grad-CAM knows no layer of the network.
    """
    store, version = Store(config.store), read_manifest(manifest)
    deployed = read_calibration(calibration)
    table = read_predictions(predictions).clean("robustness")
    if table.empty:
        raise InputError(
            "the predictions hold no clean image of the robustness split after fine-tuning; run predict again"
        )
    decided = decide(table, deployed)
    digests = [version.digest, read_splits(splits).digest, weights_digest(model)]
    key = run_key("explain", *digests, vars(deployed), config.identity(), config.candidate, seed)

    def produce(folder: Path) -> None:
        tiles = ShardReader(fetch_for_step(config, version))
        network = load_network(model, pick_device()).to(memory_format=torch.channels_last)
        explain_network(network, decided, Tiles(version, tiles, network.input_size), config, seed, folder)

    reuse(store, key, Path(out), produce)


class Tiles:
    """Images and masks of a data set version at a network's input size."""

    def __init__(self, manifest: Manifest, reader: ShardReader, size: int):
        self.rows = manifest.table.set_index("sample_id")
        self.reader, self.size = reader, size

    def images(self, sample_ids: pd.Series) -> torch.Tensor:
        """uint8 (N, 3, size, size)."""
        pictures = [decode_tile(self._read(self.rows.loc[name], ""), self.size) for name in sample_ids]
        stacked = np.stack(pictures) if pictures else np.empty((0, self.size, self.size, 3), np.uint8)
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()

    def mask(self, sample_id: str) -> np.ndarray | None:
        """bool (size, size), true where any part of the pixel is crack; None where no mask is known."""
        row = self.rows.loc[sample_id]
        if pd.isna(row["mask_offset"]):
            return None
        return fit_mask(decode_mask(self._read(row, "mask_")), self.size)

    def _read(self, row: pd.Series, prefix: str) -> bytes:
        return self.reader.read(row["shard"], int(row[f"{prefix}offset"]), int(row[f"{prefix}size"]))


def fit_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Scale a mask bool (H, W) to (size, size) so that the thinnest crack survives."""
    if mask.shape == (size, size):
        return mask
    shrinking = mask.size > size * size
    how = cv2.INTER_AREA if shrinking else cv2.INTER_NEAREST
    return cv2.resize(mask.astype(np.float32), (size, size), interpolation=how) > 0


def explain_network(
    network: Network, decided: pd.DataFrame, tiles: Tiles, config: ExplainConfig, seed: int, folder: Path
) -> None:
    """Draw and measure a network's explanations into a folder; `decided` are rows from `selection.decide`."""
    target = find_target(network)
    shown = choose_shown(decided, config.shown)
    progress(0, 3, "drawing explanations")
    panels = _panels(network, target, shown, tiles, config, seed)
    write_panels(shown, panels, folder)
    progress(1, 3, "measuring explanations")
    sample = _sample(network, choose_measured(decided, config.measured, seed), tiles)
    measured = measure(network, sample, config, seed)
    write_measurements(measured, folder / MEASUREMENTS)
    progress(2, 3, "writing the page")
    remark = f"{len(shown)} of {len(decided)} images; Grad-CAM of the layer `{target.name}`."
    remark += f" {told_of_shap(config.shap, measured)}"
    if len(decided) < FEW:
        small = f"The robustness split has only {len(decided)} images; below {FEW} every number here is rough."
        remark += f" {small}"
        warn(f"explanations of {config.candidate}: {small} Add photos, or raise split.robustness.")
    write_page(folder / PAGE, config.candidate, shown, panels, measured, remark)


def _panels(
    network: Network, target: Target, shown: pd.DataFrame, tiles: Tiles, config: ExplainConfig, seed: int
) -> list[Panel]:
    images = tiles.images(shown["sample_id"]).to(network.mean.device)
    maps = [grad_cam(network, target, images, crack, config.batch_size) for crack in (False, True)]
    hidden = blurred(images, config.blur * network.input_size)
    signed = explain_signed(network, images, hidden, config, seed)
    pictures = images.permute(0, 2, 3, 1).cpu().numpy()
    panels = []
    for index, row in enumerate(shown.itertuples()):
        classes = [row.decision] if row.right else [row.decision, row.label]
        evidence = {name: maps[name][index] for name in classes}
        panels.append(draw_panel(pictures[index], evidence, signed[index], tiles.mask(row.sample_id)))
    return panels


def _sample(network: Network, rows: pd.DataFrame, tiles: Tiles) -> Sample:
    masks = [tiles.mask(name) for name in rows["sample_id"]]
    blank = np.zeros((tiles.size, tiles.size), bool)
    return Sample(
        images=tiles.images(rows["sample_id"]).to(network.mean.device),
        masks=np.stack([blank if mask is None else mask for mask in masks]) if masks else blank[None][:0],
        masked=np.array([mask is not None for mask in masks], bool),
        groups=rows["group_id"].to_numpy(),
    )
