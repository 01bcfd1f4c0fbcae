"""Examine every file once: check that we can use the image, compute its digest, and measure how it looks."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from components.ingest.config import IngestConfig
from components.ingest.duplicates import perceptual_hash
from components.ingest.jpeg_warnings import Messages, listening
from components.ingest.landmarks import find_landmarks
from components.ingest.mask_check import MaskFitError, MaskFound, check_mask
from components.ingest.thumbnails import THUMBNAIL_SIDE
from components.shared.data.image import (
    UPRIGHT,
    ImageError,
    check_no_empty_pixels,
    decode_with_depth,
    read_header,
)
from components.shared.data.image_kinds import KINDS
from components.shared.data.manifest import plain
from components.shared.events import progress
from components.shared.processors import count_processors

FILES_PER_BATCH = 64


class File(NamedTuple):
    """A file to examine: its path, the path of its mask or None, and the arrays for its thumbnail and landmarks."""

    path: str
    mask: str | None
    thumbnail: NDArray[np.uint8]
    landmarks: NDArray


class Found(NamedTuple):
    """The result of examining a file. If the file is refused, all fields except `reason` have their default values.

    Attributes:
        reason: Why the file is refused; None for an accepted image.
        sample_id: sha256 of the file's bytes.
        suffix: Suffix of the file's kind: ".jpg", ".png", …
        mask_id, mask_suffix: sha256 and suffix of the mask as we store it. If the image has no mask, `mask_id` is None
            and `mask_suffix` is "".
        mask_turn: How to turn the mask: the EXIF orientation of the image, or `UPRIGHT` if the mask needs no turn.
        marked: Share of the image's pixels that the mask marks, 0 to 1. It is 0 if the image has no mask.
        width, height: Pixels, after the EXIF orientation was applied.
        used_bits: The image was scaled from this number of bits to 8 bits (`image_depth.Decoded`). It is 0 if the image
            was not scaled.
        brightness, contrast: Mean and standard deviation of the grey levels, 0 to 255.
        darkest: Median minus minimum of the grey levels, 0 to 255.
        red, blue: Mean of the red (blue) levels minus the mean of the green levels, -255 to 255.
        file_size: Bytes.
        phash: Perceptual hash, 16 hex characters.
    """

    reason: str | None
    sample_id: str | None = None
    suffix: str | None = None
    mask_id: str | None = None
    mask_suffix: str | None = None
    mask_turn: int = UPRIGHT
    marked: float = 0.0
    width: int = 0
    height: int = 0
    used_bits: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    darkest: float = 0.0
    red: float = 0.0
    blue: float = 0.0
    file_size: int = 0
    phash: str | None = None


TEXT_COLUMNS = ("reason", "sample_id", "suffix", "mask_id", "mask_suffix", "phash")
FOUND_TYPES = {name: "str" if name in TEXT_COLUMNS else kind.__name__ for name, kind in Found.__annotations__.items()}


def examine(files: pd.DataFrame, folder: Path, sketches: NDArray, config: IngestConfig) -> pd.DataFrame:
    """Read, decode and hash every file once, on all processors.

    Args:
        files: Table with the columns path and mask. In the column mask, a file without a mask has a missing value.
        folder: The folder that path and mask are relative to.
        sketches: Array of dtype `SKETCH` (thumbnail and landmarks) and shape (N,), with one element for each file. This
            function fills in the elements of accepted images.
        config: The parameters of ingestion.

    Returns:
        The findings: a table with the columns of `FOUND_TYPES` and the index of `files`.
    """
    queue = []
    columns = plain(files["path"]), plain(files["mask"]), sketches["thumbnail"], sketches["landmarks"]
    for path, mask, thumbnail, landmarks in zip(*columns, strict=True):
        mask_path = None if mask is None else f"{folder}/{mask}"
        queue.append(File(f"{folder}/{path}", mask_path, thumbnail, landmarks))
    batches = [queue[start : start + FILES_PER_BATCH] for start in range(0, len(queue), FILES_PER_BATCH)]

    found: list[Found] = []
    suspects: list[int] = []
    with listening() as messages:
        # Threads are enough: OpenCV and hashlib release the interpreter's lock. Products of small matrices must not
        # start threads of their own, because these cost many times more than the products.
        with ThreadPoolExecutor(count_processors()) as pool, threadpool_limits(1):
            for batch in pool.map(partial(_examine_batch, config, messages), batches):
                for result, warned in batch:
                    if warned:
                        suspects.append(len(found))
                    found.append(result)
                progress(len(found), len(queue), "reading and checking")

        # While several threads decode, a warning of libjpeg may belong to a file of another thread. So we examine the
        # files with a warning again, in one thread.
        for index in suspects:
            found[index] = _examine_alone(config, messages, queue[index])
    return pd.DataFrame(found, files.index, list(FOUND_TYPES)).astype(FOUND_TYPES)


def _examine_batch(config: IngestConfig, messages: Messages, files: list[File]) -> list[tuple[Found, bool]]:
    """Examine files one after the other.

    Returns:
        For each file: its result, and true if libjpeg warned in the meantime. The warning can be from any thread.
    """
    results = []
    for file in files:
        before = messages.size()
        found = _examine_file(config, file)
        warned = messages.size() > before
        results.append((found, warned))
    return results


def _examine_alone(config: IngestConfig, messages: Messages, file: File) -> Found:
    """Examine a file while no other thread decodes, so that a warning belongs to this file."""
    before = messages.size()
    found = _examine_file(config, file)
    damage = messages.damage_since(before)
    if damage and found.reason is None:
        return Found(f"not a whole image: {damage}")
    return found


def _examine_file(config: IngestConfig, file: File) -> Found:
    try:
        return _measure_file(config, file)
    except ImageError as error:
        return Found(str(error))
    except OSError as error:  # of the file or of its mask; a decoder's error has no file name
        return Found(f"{error.filename} cannot be read: {error.strerror}" if error.filename else str(error))
    except Exception as error:  # a decoder or a measurement can raise any error; only this file is refused
        return Found(f"cannot be read: {type(error).__name__}: {error}")


def _measure_file(config: IngestConfig, file: File) -> Found:
    """Decode and measure a file.

    Raises:
        Exception: We do not accept the file. A decoder can raise any kind of error.
    """
    data = Path(file.path).read_bytes()
    suffix = check_header(data, config)
    image, used_bits = decode_with_depth(data)
    height, width = image.shape[:2]
    check_no_empty_pixels(data)
    mask, mask_suffix = None, ""
    if file.mask is not None:
        mask, mask_suffix = _check_mask(Path(file.mask), data, image, config)

    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), dst=file.thumbnail, interpolation=cv2.INTER_AREA)
    if config.overlap is not None:
        file.landmarks[:] = find_landmarks(grey)
    brightness, contrast, darkest = _grey_levels(grey)
    mean_red, mean_green, mean_blue, _ = cv2.mean(image)
    return Found(
        reason=None,
        sample_id=hashlib.sha256(data).hexdigest(),
        suffix=suffix,
        mask_id=mask.mask_id if mask else None,
        mask_suffix=mask_suffix,
        mask_turn=mask.turn if mask else UPRIGHT,
        marked=mask.marked if mask else 0.0,
        width=width,
        height=height,
        used_bits=used_bits,
        brightness=brightness,
        contrast=contrast,
        darkest=darkest,
        red=mean_red - mean_green,
        blue=mean_blue - mean_green,
        file_size=len(data),
        phash=perceptual_hash(file.thumbnail),
    )


def _grey_levels(grey: cv2.typing.MatLike) -> tuple[float, float, float]:
    """Return the mean and the standard deviation of the grey levels, and their median minus their minimum.

    All three are computed from one histogram, because sorting the pixels would be slow.
    """
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    levels = np.arange(256)
    pixels = counts.sum()

    mean = float(levels @ counts / pixels)
    deviation = float(np.sqrt((levels - mean) ** 2 @ counts / pixels))
    median = int(np.searchsorted(counts.cumsum(), pixels / 2))
    darkest = np.flatnonzero(counts)[0]
    return mean, deviation, float(median - darkest)


def check_header(data: bytes, config: IngestConfig) -> str:
    """Check an image's header before the image is decoded. Return the suffix of the file's kind, such as ".jpg".

    Raises:
        ImageError: The file is empty, or we do not accept an image with this header. The message says why.
    """
    if not data:
        raise ImageError("empty file; copy it again")
    header = read_header(data)
    width, height = header.width, header.height
    if width * height > config.max_pixels:
        raise ImageError(
            f"too large: {width}x{height} pixels, more than max_pixels {config.max_pixels}; cut the image into "
            "tiles, or raise max_pixels"
        )
    if min(width, height) < config.min_size:
        raise ImageError(
            f"too small: {width}x{height} pixels, less than min_size {config.min_size}; use a larger image, or lower "
            "min_size"
        )
    return KINDS[header.format][0]


def _check_mask(path: Path, photo: bytes, image: NDArray[np.uint8], config: IngestConfig) -> tuple[MaskFound, str]:
    """Check the mask of an image. Return what was found, and the suffix of the stored mask.

    Raises:
        ImageError: We do not accept the mask's file, or the mask does not fit the image.
    """
    data = path.read_bytes()
    try:
        suffix = check_header(data, config)
        found = check_mask(path, data, photo, image)
    except MaskFitError:
        raise
    except ImageError as error:
        raise ImageError(f"its mask {path.name}: {error}") from error
    return found, suffix if found.turn == UPRIGHT else ".png"
