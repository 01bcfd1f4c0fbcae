"""Explain a candidate: choose images, draw their maps, measure the maps, and write the page."""

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from components.explain.cam_choice import CamChoice, choose_cam
from components.explain.config import ExplainConfig
from components.explain.faithfulness import blurred
from components.explain.image_choice import choose_measured, choose_shown, decide
from components.explain.maps import explain_signed
from components.explain.measures import Sample, measure
from components.explain.page import shap_remark, write_page
from components.explain.panels import Panel, draw_panel, write_panels
from components.explain.progress_lines import progress_lines
from components.explain.shortcut_exchange import choose_exchanged, measure_exchanges
from components.shared.data.image import decode_mask
from components.shared.data.manifest import Manifest, read_manifest, read_splits
from components.shared.data.shards import ShardReader
from components.shared.data.versions import fetch_for_step
from components.shared.errors import InputError
from components.shared.events import warn
from components.shared.network.device import pick_device
from components.shared.network.grad_cam import Cam, grad_cam
from components.shared.network.network import Network
from components.shared.network.resize import Resize
from components.shared.network.saved_network import load_network, weights_digest
from components.shared.network.tiles import decode_tile
from components.shared.results.calibration import Calibration, read_calibration
from components.shared.results.measurements import write_measurements
from components.shared.results.predictions import read_predictions
from components.shared.reuse import reuse, run_key
from components.shared.services.store import Store

MEASUREMENTS, PAGE = "measurements.parquet", "page.html"
# If the robustness split has fewer images, the step warns that all numbers are imprecise.
FEW_IMAGES = 30


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
    """Explain a candidate's answers on the robustness split. If the store already has these explanations, fetch them.

    Args:
        model: The saved model's folder.
        manifest: The data set version's manifest.
        splits: Table (sample_id, split).
        predictions: The candidate's predictions folder.
        calibration: The candidate's calibration.json.
        config: The parameters of the explanations.
        seed: Seed of the random choice of measured images, and of the random maps.
        out: Folder for measurements.parquet, page.html and the panels as PNG files.

    Raises:
        InputError: The robustness split has no predictions, or no layer of the network gives a Grad-CAM map, or the
            network's answer is NaN or infinite.
    """
    version = read_manifest(manifest)
    deployed = read_calibration(calibration)
    answers = read_predictions(predictions)
    table = answers.clean("robustness")
    if table.empty:
        raise InputError(
            "the predictions have no answer for any uncorrupted image of the robustness split; run the step predict "
            "again"
        )
    decided = decide(table, deployed)

    inputs = [version.digest, read_splits(splits).digest, weights_digest(model), asdict(deployed)]
    key = run_key("explain", *inputs, config.identity(), config.candidate, seed)

    def produce(folder: Path) -> None:
        reader = ShardReader(fetch_for_step(config, version))
        network = load_network(model, pick_device()).to(memory_format=torch.channels_last)
        tiles = Tiles(version, reader, network.resize)
        explain_network(network, decided, answers.clean("val"), tiles, deployed, config, seed, folder)

    reuse(Store(config.store), key, Path(out), produce)


class Tiles:
    """The images and masks of a data set version, at a network's input size."""

    def __init__(self, manifest: Manifest, reader: ShardReader, resize: Resize):
        self.rows = manifest.table.set_index("sample_id")
        self.reader = reader
        self.resize = resize
        self.size = resize.size

    def images(self, sample_ids: pd.Series) -> torch.Tensor:
        """Return images, uint8 (N, 3, size, size)."""
        pixels = np.empty((len(sample_ids), self.size, self.size, 3), np.uint8)
        for index, sample_id in enumerate(sample_ids):
            pixels[index] = decode_tile(self.file(sample_id), self.resize)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()

    def file(self, sample_id: str) -> bytes:
        """Return the image file of a tile."""
        row = self.rows.loc[sample_id]
        return self.reader.read(row["shard"], int(row["offset"]), int(row["size"]))

    def mask(self, sample_id: str) -> np.ndarray | None:
        """Return the mask of an image, bool (size, size), or None if it has no mask.

        A pixel is true if at least a part of it is crack.
        """
        row = self.rows.loc[sample_id]
        if pd.isna(row["mask_offset"]):
            return None
        data = self.reader.read(row["shard"], int(row["mask_offset"]), int(row["mask_size"]))
        return fit_mask(decode_mask(data), self.size)


def fit_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Scale a mask bool (H, W) to (size, size), and keep thin cracks."""
    if mask.shape == (size, size):
        return mask
    shrinks = mask.size > size * size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    return cv2.resize(mask.astype(np.float32), (size, size), interpolation=interpolation) > 0


def explain_network(
    network: Network,
    decided: pd.DataFrame,
    validation: pd.DataFrame,
    tiles: Tiles,
    calibration: Calibration,
    config: ExplainConfig,
    seed: int,
    folder: Path,
) -> None:
    """Draw and measure a network's explanations.

    Args:
        network: In eval mode.
        decided: Rows from `decide`, of the robustness split.
        validation: Prediction rows of the validation split, on which the layer of Grad-CAM is chosen. May be empty.
        tiles: The images and masks of the data set version.
        calibration: The network's temperature and threshold.
        config: The parameters of the explanations.
        seed: Seed of the random choice of measured images, and of the random maps.
        folder: Folder for the measurements, the page and the panels.
    """
    with progress_lines(stages=5) as lines:
        lines.stage("choosing the layer of Grad-CAM")
        chosen_on = choose_measured(validation, config.chosen_on, seed)
        images = tiles.images(chosen_on["sample_id"]).to(network.mean.device)
        choice = choose_cam(network, images, chosen_on["group_id"].to_numpy(), config, seed)
        _warn_if_not_faithful(choice, config.candidate)

        lines.stage("drawing explanations")
        shown = choose_shown(decided, config.shown)
        panels = _draw_panels(network, choice.cam, shown, tiles, config, seed)
        write_panels(shown, panels, folder)

        lines.stage("measuring explanations")
        sample = _read_sample(network, choose_measured(decided, config.measured, seed), tiles)
        measured = measure(network, choice.cam, sample, config, seed)

        lines.stage("testing whether the network uses irrelevant properties of tiles")
        chosen = choose_exchanged(decided, config.exchanged, seed)
        shortcuts = measure_exchanges(network, calibration, chosen, tiles.file, config.batch_size, config.resamples)
        write_measurements([*measured, *shortcuts], folder / MEASUREMENTS)

        lines.stage("writing the page")
        remark = (
            f"The gallery shows {len(shown)} of the {len(decided)} tiles of the robustness split. "
            f"{shap_remark(config.shap, measured)}"
        )
        if len(decided) < FEW_IMAGES:
            small = (
                f"The robustness split has only {len(decided)} tiles. With fewer than {FEW_IMAGES} tiles, all numbers "
                "are imprecise."
            )
            remark += f" {small}"
            warn(f"explanations of {config.candidate}: {small} Add photos, or raise split.robustness.")
        write_page(folder / PAGE, config.candidate, shown, panels, measured, choice, remark, shortcuts)


def _warn_if_not_faithful(choice: CamChoice, candidate: str) -> None:
    if choice.gain is not None and not choice.is_faithful:
        warn(
            f"explanations of {candidate}: on {choice.tiles} validation images, no layer gives a Grad-CAM map that is "
            "measurably more faithful than a random map; do not rely on the Grad-CAM maps of this candidate"
        )


def _draw_panels(
    network: Network, cam: Cam, shown: pd.DataFrame, tiles: Tiles, config: ExplainConfig, seed: int
) -> list[Panel]:
    images = tiles.images(shown["sample_id"]).to(network.mean.device)
    evidence = {}
    for label in (0, 1):
        evidence[label] = grad_cam(network, cam, images, crack=bool(label), batch_size=config.batch_size)
    hidden = blurred(images, config.blur * network.input_size)
    signed = explain_signed(network, images, hidden, config, seed)

    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    panels = []
    for index, row in enumerate(shown.itertuples()):
        labels = [row.decision] if row.right else [row.decision, row.label]
        maps = {label: evidence[label][index] for label in labels}
        panels.append(draw_panel(pixels[index], maps, signed[index], tiles.mask(row.sample_id)))
    return panels


def _read_sample(network: Network, rows: pd.DataFrame, tiles: Tiles) -> Sample:
    count = len(rows)
    masks = np.zeros((count, tiles.size, tiles.size), bool)
    masked = np.zeros(count, bool)
    for index, sample_id in enumerate(rows["sample_id"]):
        mask = tiles.mask(sample_id)
        if mask is not None:
            masks[index] = mask
            masked[index] = True

    images = tiles.images(rows["sample_id"]).to(network.mean.device)
    return Sample(images, masks, masked, groups=rows["group_id"].to_numpy())
