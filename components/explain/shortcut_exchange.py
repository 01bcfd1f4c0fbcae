"""Measure whether the network uses an irrelevant property of a tile: a property that has nothing to do with cracks.

There are four irrelevant properties: the border, the colour cast, the sharpness and the JPEG compression. We exchange
one property at a time: the tile gets the property of a tile of the other class, and the rest of the tile stays the
same. If the answer moves towards the other class, the network uses the property.

An exchange also disturbs the tile, and the disturbance alone can change the answer. So we repeat the exchange with a
tile of the same class, and subtract the effect of this second exchange.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from components.explain.intervals import mean_interval
from components.shared.data.image import decode, jpeg_tables
from components.shared.network.network import Network
from components.shared.results.calibration import Calibration
from components.shared.results.measurements import Estimate, Measurement
from components.shared.results.metrics import compute_metrics

BORDER = 0.08  # width of the border, as a share of the shorter edge
BLUR = 1.5  # standard deviation, pixels; this blur removes the fine details of a tile
MAX_GAIN = 4.0  # the fine details become at most this many times stronger or weaker
SMALLEST_RANGE = 1e-6  # numbers that differ by less than this count as equal, because of rounding

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Tile:
    """A decoded tile.

    Attributes:
        pixels: uint8 (H, W, 3), RGB.
        tables: The quantisation tables of the JPEG file. None if the file has another format.
    """

    pixels: Pixels
    tables: dict[int, list[int]] | None

    @classmethod
    def of(cls, data: bytes) -> "Tile":
        """Decode an image file."""
        return cls(decode(data), jpeg_tables(data))


def with_border(tile: Tile, other: Tile) -> Pixels:
    """Return the tile with the border of the other tile."""
    height, width = tile.pixels.shape[:2]
    edge = max(1, round(BORDER * min(height, width)))
    pixels = np.array(cv2.resize(other.pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    pixels[edge:-edge, edge:-edge] = tile.pixels[edge:-edge, edge:-edge]
    return pixels


def with_colour_cast(tile: Tile, other: Tile) -> Pixels:
    """Return the tile with the colour cast of the other tile. The brightness of the tile stays the same."""
    return _to_pixels(tile.pixels * (_cast(other) / _cast(tile)))


def with_sharpness(tile: Tile, other: Tile) -> Pixels:
    """Return the tile with fine details that are as strong as the details of the other tile.

    The strength is a median over all pixels, so a thin crack hardly changes it.
    """
    pixels = tile.pixels.astype(np.float32)
    smooth = cv2.GaussianBlur(pixels, (0, 0), BLUR)
    gain = np.clip(_sharpness(other) / _sharpness(tile), 1 / MAX_GAIN, MAX_GAIN)
    return _to_pixels(smooth + gain * (pixels - smooth))


def with_compression(tile: Tile, other: Tile) -> Pixels:
    """Return the tile, compressed again as strongly as the other tile.

    If the other tile is not a JPEG file, return the tile unchanged.
    """
    if other.tables is None:
        return tile.pixels
    buffer = BytesIO()
    Image.fromarray(tile.pixels).save(buffer, "JPEG", qtables=other.tables)
    return decode(buffer.getvalue())


def _cast(tile: Tile) -> NDArray[np.float64]:
    means = tile.pixels.reshape(-1, 3).mean(axis=0) + 1
    return means / means.mean()


def _sharpness(tile: Tile) -> float:
    grey = cv2.cvtColor(tile.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.median(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), BLUR)))) + 0.1


def _border_grey(tile: Tile) -> float:
    grey = cv2.cvtColor(tile.pixels, cv2.COLOR_RGB2GRAY)
    edge = max(1, round(BORDER * min(grey.shape)))
    inside = grey[edge:-edge, edge:-edge]
    return float((grey.sum(dtype=np.float64) - inside.sum(dtype=np.float64)) / (grey.size - inside.size))


def _warmth(tile: Tile) -> float:
    cast = _cast(tile)
    return float(cast[0] / cast[2])


def _compression(tile: Tile) -> float:
    return float(np.mean(tile.tables[0])) if tile.tables else 0.0


def _to_pixels(values: np.ndarray) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class IrrelevantProperty:
    """A property of tiles that has nothing to do with cracks.

    Attributes:
        exchange: Function that returns the first tile with the property of the second tile.
        number: Function that measures the property of a tile. For example, it returns the sharpness of the tile as a
            number.
    """

    exchange: Callable[[Tile, Tile], Pixels]
    number: Callable[[Tile], float]


IRRELEVANT_PROPERTIES = {
    "border": IrrelevantProperty(with_border, _border_grey),
    "colour_cast": IrrelevantProperty(with_colour_cast, _warmth),
    "sharpness": IrrelevantProperty(with_sharpness, _sharpness),
    "jpeg_quality": IrrelevantProperty(with_compression, _compression),
}


def choose_exchanged(decided: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Choose tiles of both classes at random, and two partners for each tile.

    One partner has the other class, and one has the same class. The partners come from other photos than the tile.

    Args:
        decided: Rows from `decide`, of one split.
        count: Number of tiles wanted, half of them with a crack.
        seed: Seed of the random choice.

    Returns:
        Rows of `decided` with two more columns. They contain sample_ids: `other` is the partner of the other class, and
        `alike` is the partner of the same class. A tile is chosen only if it has both partners.
    """
    rng = np.random.default_rng([seed, 5])
    ids, labels, groups = (decided[name].to_numpy() for name in ("sample_id", "label", "group_id"))
    chosen = []
    for label in (0, 1):
        drawn = 0
        for row in rng.permutation(np.flatnonzero(labels == label)):
            elsewhere = groups != groups[row]
            others = np.flatnonzero(elsewhere & (labels != label))
            alike = np.flatnonzero(elsewhere & (labels == label))
            if len(others) and len(alike) and drawn < count // 2:
                chosen.append((row, ids[rng.choice(others)], ids[rng.choice(alike)]))
                drawn += 1

    rows, other, alike_ids = zip(*chosen, strict=True) if chosen else ((), (), ())
    return decided.iloc[list(rows)].assign(other=list(other), alike=list(alike_ids))


def measure_exchanges(
    network: Network,
    calibration: Calibration,
    chosen: pd.DataFrame,
    read: Callable[[str], bytes],
    batch_size: int,
    resamples: int,
) -> list[Measurement]:
    """Give each tile a property of a tile of the other class. Measure how far P(crack) moves towards the other class.

    Args:
        network: In eval mode.
        calibration: The network's temperature and threshold.
        chosen: From `choose_exchanged`.
        read: Function that takes a sample_id and returns the content of the tile's file.
        batch_size: Number of tiles in a forward pass.
        resamples: Bootstrap resamples of photos.

    Returns:
        Three measurements on the robustness split for each property. The list is empty if there are no tiles.

        - `shortcut_pull_PROPERTY`: mean change of P(crack) towards the other class. The change with the partner of the
          same class is subtracted.
        - `shortcut_flips_PROPERTY`: share of the answers that change. The share with the partner of the same class is
          subtracted.
        - `shortcut_data_PROPERTY`: how well the property alone predicts the label: an AUROC from 0.5 to 1.
    """
    if chosen.empty:
        return []
    tiles = [Tile.of(read(sample_id)) for sample_id in chosen["sample_id"]]
    others = [Tile.of(read(sample_id)) for sample_id in chosen["other"]]
    alike = [Tile.of(read(sample_id)) for sample_id in chosen["alike"]]
    labels = chosen["label"].to_numpy()
    groups = chosen["group_id"].to_numpy()

    def score(images: Sequence[Pixels]) -> NDArray[np.float64]:
        return _scores(network, calibration, images, batch_size)

    own = score([tile.pixels for tile in tiles])
    towards_other = np.where(labels == 1, -1.0, 1.0)
    measured = []
    for name, irrelevant in IRRELEVANT_PROPERTIES.items():
        with_other = score([irrelevant.exchange(tile, other) for tile, other in zip(tiles, others, strict=True)])
        with_alike = score([irrelevant.exchange(tile, other) for tile, other in zip(tiles, alike, strict=True)])

        pull = towards_other * (with_other - with_alike)
        flips = _changed(own, with_other, calibration) - _changed(own, with_alike, calibration)
        for kind, values in (("pull", pull), ("flips", flips)):
            estimate = Estimate(*mean_interval(values, groups, resamples, "difference"))
            measured.append(Measurement.of(f"shortcut_{kind}_{name}", estimate, len(tiles), split="robustness"))

        alone = _predicts(labels, np.array([irrelevant.number(tile) for tile in tiles]))
        measured.append(Measurement(f"shortcut_data_{name}", alone, split="robustness", n=len(tiles)))
    return measured


def _scores(
    network: Network, calibration: Calibration, images: Sequence[Pixels], batch_size: int
) -> NDArray[np.float64]:
    """Return the calibrated P(crack) of images of any size."""
    scores = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = np.stack([network.resize(image) for image in images[start : start + batch_size]])
            logits = network(torch.from_numpy(batch).permute(0, 3, 1, 2).to(network.mean.device))
            logits = logits.float().cpu().numpy()
            scores.append(calibration.p_crack(logits[:, 0], logits[:, 1]))
    return np.concatenate(scores)


def _changed(before: np.ndarray, after: np.ndarray, calibration: Calibration) -> NDArray[np.float64]:
    threshold = calibration.threshold
    return ((before >= threshold) != (after >= threshold)).astype(np.float64)


def _predicts(labels: np.ndarray, numbers: np.ndarray) -> float:
    """Return how well the numbers predict the labels: an AUROC from 0.5 to 1, and 0.5 if all numbers are equal."""
    if np.ptp(numbers) < SMALLEST_RANGE:
        return 0.5
    auroc = compute_metrics(labels, pd.Series(numbers).rank(pct=True).to_numpy())["auroc"]
    return max(auroc, 1 - auroc)
