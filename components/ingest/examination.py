"""Look at every file once: is it a picture we can use, what is its name by content, and what does it look like?"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from components.ingest.config import IngestConfig
from components.ingest.decoder_messages import Messages, listening
from components.ingest.layouts import Item
from components.shared.image import ImageError, decode, decode_mask
from components.shared.runtime import progress

THUMBNAIL = 32  # pixels, height and width
BATCH = 64
SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}


@dataclass(frozen=True, slots=True)  # there may be very many
class Picture:
    """A file that is a good picture.

    Attributes:
        item: The file.
        sample_id: sha256 of its bytes.
        suffix: Of its kind: ".jpg", ".png", …
        mask_id, mask_suffix: The same of its mask, None and "" without one.
        width, height: Pixels, upright.
        thumbnail: uint8 (32, 32), grey.
        brightness, contrast: Mean and standard deviation of the grey levels, 0 to 255.
        darkest: Median minus minimum of the grey levels, 0 to 255.
        file_size: Bytes.
    """

    item: Item
    sample_id: str
    suffix: str
    mask_id: str | None
    mask_suffix: str
    width: int
    height: int
    thumbnail: NDArray[np.uint8]
    brightness: float
    contrast: float
    darkest: float
    file_size: int


@dataclass(frozen=True)
class Refusal:
    """A file that went to quarantine, and why."""

    item: Item
    reason: str


def examine(items: list[Item], config: IngestConfig) -> list[Picture | Refusal]:
    """Read, decode and hash every file once, on all processors; what was found is in the order of the items."""
    found: list[Picture | Refusal] = []
    suspects: list[int] = []
    with listening() as messages:
        look = partial(_look_at_batch, config, messages)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # OpenCV and hashlib let go of the interpreter
            for batch in pool.map(look, _batches(items)):
                suspects += [len(found) + index for index, (_, suspect) in enumerate(batch) if suspect]
                found += [result for result, _ in batch]
                progress(len(found), len(items), "reading and checking")
        for index in suspects:  # the message may have been another thread's: now there is one only
            found[index] = _listen_to(config, messages, items[index])
    return found


def _batches(items: list[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _look_at_batch(config: IngestConfig, messages: Messages, items: list[Item]) -> list[tuple[Picture | Refusal, bool]]:
    """What each file is, and whether a decoder had something to say meanwhile."""
    results = []
    for item in items:
        before = messages.size()
        results.append((_look_at(config, item), messages.size() > before))
    return results


def _listen_to(config: IngestConfig, messages: Messages, item: Item) -> Picture | Refusal:
    before = messages.size()
    result = _look_at(config, item)
    damage = messages.damage_since(before)
    return Refusal(item, f"not a whole image: {damage}") if damage and isinstance(result, Picture) else result


def _look_at(config: IngestConfig, item: Item) -> Picture | Refusal:
    try:
        data = (item.folder / item.path).read_bytes()
        suffix = _check_header(data, config)
        image = decode(data)
        height, width = image.shape[:2]
        mask_id, mask_suffix = (
            (None, "") if item.mask is None else _check_mask(item.folder / item.mask, (height, width), config)
        )
    except (ImageError, OSError) as error:
        return Refusal(item, str(error))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    digest = hashlib.sha256(data).hexdigest()
    small = np.asarray(thumbnail, np.uint8)
    return Picture(item, digest, suffix, mask_id, mask_suffix, width, height, small, *_grey_levels(grey), len(data))


def _grey_levels(grey: cv2.typing.MatLike) -> tuple[float, float, float]:
    """Mean, standard deviation, and median minus minimum, all from one histogram: sorting pixels would be slow."""
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    levels, pixels = np.arange(256), counts.sum()
    mean = float(levels @ counts / pixels)
    median = int(np.searchsorted(counts.cumsum(), pixels / 2))
    deviation = float(np.sqrt((levels - mean) ** 2 @ counts / pixels))
    return mean, deviation, float(median - np.flatnonzero(counts)[0])


def _check_header(data: bytes, config: IngestConfig) -> str:
    """Check what the header tells before anything is decoded; return the suffix of the file's kind."""
    from PIL import Image

    if not data:
        raise ImageError("empty file")
    try:
        image = Image.open(BytesIO(data))
    except Image.UnidentifiedImageError as error:
        raise ImageError("not an image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"absurdly large: {error}") from error
    except Exception as error:  # Pillow's parsers raise many kinds on damaged headers
        raise ImageError(f"not a whole image: {error}") from error
    width, height = image.size
    if width * height > config.max_pixels:
        raise ImageError(f"absurdly large: {width}x{height} pixels, more than max_pixels {config.max_pixels}")
    if min(width, height) < config.min_size:
        raise ImageError(f"too small: {width}x{height} pixels, less than min_size {config.min_size}")
    if getattr(image, "is_animated", False):
        raise ImageError(f"animated: {getattr(image, 'n_frames', 'several')} pictures in one file")
    return SUFFIXES.get(str(image.format), f".{image.format}".lower())


def _check_mask(path: Path, shape: tuple[int, int], config: IngestConfig) -> tuple[str, str]:
    data = path.read_bytes()
    try:
        suffix = _check_header(data, config)
        mask = decode_mask(data)
    except ImageError as error:
        raise ImageError(f"its mask {path.name}: {error}") from error
    if mask.shape != shape:
        raise ImageError(
            f"its mask {path.name} is {mask.shape[1]}x{mask.shape[0]} pixels, the picture {shape[1]}x{shape[0]}"
        )
    return hashlib.sha256(data).hexdigest(), suffix
