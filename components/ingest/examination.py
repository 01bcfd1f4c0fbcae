"""Look at every file once: is it a picture we can use, what is its name by content, and what does it look like?"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ingest.config import IngestConfig
from components.ingest.duplicates import perceptual_hash
from components.ingest.jpeg_warnings import Messages, listening
from components.ingest.thumbnails import THUMBNAIL
from components.shared.data.image import ImageError, decode, decode_mask, read_header
from components.shared.data.manifest import plain
from components.shared.events import progress

BATCH = 64
SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}


class File(NamedTuple):
    """What to look at: the file, its mask if it has one, and where its thumbnail goes."""

    path: str
    mask: str | None
    thumbnail: NDArray[np.uint8]


class Found(NamedTuple):
    """What is in a file: why it is no good picture, or all the others.

    Attributes:
        reason: Why it is refused, None for a good picture.
        sample_id: sha256 of its bytes.
        suffix: Of its kind: ".jpg", ".png", …
        mask_id, mask_suffix: The same of its mask, None and "" without one.
        width, height: Pixels, upright.
        brightness, contrast: Mean and standard deviation of the grey levels, 0 to 255.
        darkest: Median minus minimum of the grey levels, 0 to 255.
        file_size: Bytes.
        phash: Perceptual hash, 16 hex characters.
    """

    reason: str | None
    sample_id: str | None = None
    suffix: str | None = None
    mask_id: str | None = None
    mask_suffix: str | None = None
    width: int = 0
    height: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    darkest: float = 0.0
    file_size: int = 0
    phash: str | None = None


TEXTS = ("reason", "sample_id", "suffix", "mask_id", "mask_suffix", "phash")
FOUND = {name: "str" if name in TEXTS else kind.__name__ for name, kind in Found.__annotations__.items()}


def examine(files: pd.DataFrame, folder: Path, thumbnails: NDArray[np.uint8], config: IngestConfig) -> pd.DataFrame:
    """Read, decode and hash every file once, on all processors.

    Args:
        files: Columns path and mask (missing without one).
        folder: What these names are relative to.
        thumbnails: uint8 (N, 32, 32), grey, of the files in this order; those of good pictures are filled in.
        config: Parameters.

    Returns:
        What was found: a table of the columns `FOUND`, of the same index.
    """
    found: list[Found] = []
    suspects: list[int] = []
    rows = zip(plain(files["path"]), plain(files["mask"]), thumbnails, strict=True)
    wanted = [
        File(f"{folder}/{path}", None if mask is None else f"{folder}/{mask}", thumbnail)
        for path, mask, thumbnail in rows
    ]
    with listening() as messages:
        look = partial(_look_at_batch, config, messages)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # OpenCV and hashlib let go of the interpreter
            batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
            for batch in pool.map(look, batches):
                suspects += [len(found) + index for index, (_, suspect) in enumerate(batch) if suspect]
                found += [result for result, _ in batch]
                progress(len(found), len(wanted), "reading and checking")
        for index in suspects:  # the message may have been another thread's: now there is one only
            found[index] = _listen_to(config, messages, wanted[index])
    return pd.DataFrame(found, files.index, list(FOUND)).astype(FOUND)


def _look_at_batch(config: IngestConfig, messages: Messages, files: list[File]) -> list[tuple[Found, bool]]:
    """What each file is, and whether a decoder had something to say meanwhile."""
    results = []
    for file in files:
        before = messages.size()
        results.append((_look_at(config, file), messages.size() > before))
    return results


def _listen_to(config: IngestConfig, messages: Messages, file: File) -> Found:
    before = messages.size()
    result = _look_at(config, file)
    damage = messages.damage_since(before)
    return Found(f"not a whole image: {damage}") if damage and result.reason is None else result


def _look_at(config: IngestConfig, file: File) -> Found:
    try:
        data = Path(file.path).read_bytes()
        suffix = _check_header(data, config)
        image = decode(data)
        height, width = image.shape[:2]
        mask_id, mask_suffix = (
            (None, "") if file.mask is None else _check_mask(Path(file.mask), (height, width), config)
        )
    except (ImageError, OSError) as error:
        return Found(str(error))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    cv2.resize(grey, (THUMBNAIL, THUMBNAIL), dst=file.thumbnail, interpolation=cv2.INTER_AREA)
    digest, phash = hashlib.sha256(data).hexdigest(), perceptual_hash(file.thumbnail)
    return Found(None, digest, suffix, mask_id, mask_suffix, width, height, *_grey_levels(grey), len(data), phash)


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
    if not data:
        raise ImageError("empty file")
    header = read_header(data)
    width, height = header.width, header.height
    if width * height > config.max_pixels:
        raise ImageError(f"too large: {width}x{height} pixels, more than max_pixels {config.max_pixels}")
    if min(width, height) < config.min_size:
        raise ImageError(f"too small: {width}x{height} pixels, less than min_size {config.min_size}")
    if header.frames > 1:
        raise ImageError(f"animated: {header.frames} frames in one file")
    return SUFFIXES.get(header.format, f".{header.format}".lower())


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
