"""Damage images of every accepted kind in every way that storage, programs and attackers do, and examine them.

    make fuzz

The damages are flipped bits, missing ends, zeros, noise, foreign bytes, names with the suffix of another kind, and
damages of the structure (`file_structures.py`). A quarter of the files are also examined as masks. The rules are:

- nothing crashes, and no file takes more than 5 seconds of CPU time;
- every refusal has a reason;
- an accepted image has the size that its header says, and this size is within the limits;
- animations, a TIFF whose first image is a thumbnail, and a TIFF with masked pixels are refused under any name, and
  also if their end is missing;
- undamaged content is accepted under any name, and foreign bytes are refused;
- a PNG has checksums: unless its structure is damaged, it shows the same pixels, or is refused;
- an image whose end is missing is refused, or shows the same pixels;
- of the baseline JPEGs with noise, at least 9 in 10 are refused, or show the same pixels.

The last rule is a share, because a JPEG has no checksum. Noise that decodes to exactly as many blocks as were there
leaves a valid file, and no decoder can tell. That is rare: 20 of 20,000 such files were accepted (seed 1).

Other damages can leave a valid file with other pixels. Such files are counted.
"""

import argparse
import faulthandler
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import tifffile
from PIL import Image

from components.ingest.config import IngestConfig
from components.ingest.examination import examine
from components.ingest.thumbnails import blank
from components.shared.data.image import decode, read_header

sys.path.insert(0, str(Path(__file__).parents[2]))  # for the package tests

from tests.fuzz.file_structures import damage_structure

ROOT = Path(__file__).parents[1]
HEIF = sorted((ROOT / "components" / "shared" / "data" / "heif").glob("*.heic"))
SHORTEST_GAP_BYTES = 128
SECONDS_ALLOWED = 5
SECONDS_OF_A_HANG = 120
WAYS = ("bit", "cut", "zeros", "noise", "foreign", "name", "structure", "structure", "structure", "structure")
SUFFIXES = (".jpg", ".png", ".tif", ".gif", ".heic", ".txt", "")
SIDE = 96
SEEDS = 12
FILES_PER_BATCH = 40
GOOD = "good.png"
CONFIG = IngestConfig(max_pixels=4_000_000)


def draw(seed: int) -> Image.Image:
    """A textured tile."""
    rng = np.random.default_rng(seed)
    field = cv2.resize(rng.normal(128, 60, (9, 9, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(np.clip(field + rng.normal(0, 8, field.shape), 0, 255).astype(np.uint8))


def saved(kind: str, **options: object) -> Callable[[Image.Image], bytes]:
    """Return a function that encodes a tile with Pillow."""

    def save(tile: Image.Image) -> bytes:
        buffer = BytesIO()
        tile.save(buffer, kind, **options)
        return buffer.getvalue()

    return save


def exif() -> Image.Exif:
    """EXIF data with an orientation, texts, a fraction and a block of the camera."""
    data = Image.Exif()
    data.update({0x0112: 6, 0x010F: "Maker", 0x011A: 72.5, 0x0132: "2026:11:30 12:00:00"})
    data.get_ifd(0x8769).update({0x829A: 0.01, 0x927C: b"note" * 8})
    return data


def grey(tile: Image.Image) -> bytes:
    return saved("JPEG", quality=95)(tile.convert("L"))


def png16(tile: Image.Image) -> bytes:
    return cv2.imencode(".png", np.asarray(tile)[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


def tiff_of_a_map(tile: Image.Image) -> bytes:
    """A tiled TIFF with an overview and a mask."""
    pixels, buffer = np.asarray(tile), BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(pixels, photometric="rgb", tile=(32, 32), compression="zlib", subifds=0)
        file.write(pixels[::2, ::2], photometric="rgb", tile=(32, 32), subfiletype=1)
        file.write(np.ones((SIDE, SIDE), bool), photometric=4, subfiletype=4)
    return buffer.getvalue()


def big_tiff(tile: Image.Image) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, np.asarray(tile), bigtiff=True, photometric="rgb")
    return buffer.getvalue()


def thumbnail_first(tile: Image.Image) -> bytes:
    """A TIFF whose second image is the photo."""
    pixels, buffer = np.asarray(tile), BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(pixels[::2, ::2], photometric="rgb", subfiletype=1)
        file.write(pixels, photometric="rgb")
    return buffer.getvalue()


def inside_a_thumbnail(tile: Image.Image) -> bytes:
    """A TIFF whose first image is a thumbnail, with the photo in an inner directory."""
    pixels, buffer = np.asarray(tile), BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(pixels[::2, ::2], photometric="rgb", subfiletype=1, subifds=1)
        file.write(pixels, photometric="rgb")
    return buffer.getvalue()


def masked(tile: Image.Image) -> bytes:
    """A TIFF with a mask that hides the upper half."""
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(np.asarray(tile), photometric="rgb")
        file.write(np.arange(SIDE)[:, None] + np.zeros(SIDE) >= SIDE // 2, photometric=4, subfiletype=4)
    return buffer.getvalue()


def animated(kind: str) -> Callable[[Image.Image], bytes]:
    return saved(kind, save_all=True, append_images=[draw(99)])


def tiff16(tile: Image.Image) -> bytes:
    """A TIFF with 16 bits per sample, of which 12 are used."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, np.asarray(tile).astype(np.uint16) * 16, photometric="rgb", compression="zlib")
    return buffer.getvalue()


def jpeg2000_16(tile: Image.Image) -> bytes:
    return cv2.imencode(".jp2", np.asarray(tile)[..., ::-1].astype(np.uint16) * 16)[1].tobytes()


def ppm16(tile: Image.Image) -> bytes:
    return b"P6 %d %d 65535\n" % tile.size + (np.asarray(tile).astype(">u2") * 16).astype(">u2").tobytes()


def heif(tile: Image.Image) -> bytes:
    """One of the drawn HEIF files of the tests."""
    return HEIF[int(np.asarray(tile).sum()) % len(HEIF)].read_bytes()


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": saved("JPEG", quality=95),
    "progressive": saved("JPEG", quality=95, progressive=True),
    "grey": grey,
    "exif": saved("JPEG", quality=95, exif=exif()),
    "mpo": saved("MPO", save_all=True, append_images=[draw(99)], exif=exif()),
    "png": saved("PNG", exif=exif()),
    "png16": png16,
    "tiff": saved("TIFF", exif=exif()),
    "tiff_lzw": saved("TIFF", compression="tiff_lzw"),
    "map": tiff_of_a_map,
    "big_tiff": big_tiff,
    "tiff16": tiff16,
    "thumbnail_first": thumbnail_first,
    "inside_a_thumbnail": inside_a_thumbnail,
    "masked": masked,
    "webp": saved("WEBP", quality=90, exif=exif()),
    "webp_lossless": saved("WEBP", lossless=True),
    "jpeg2000": saved("JPEG2000"),
    "jpeg2000_16": jpeg2000_16,
    "avif": saved("AVIF", quality=90, exif=exif()),
    "heif": heif,
    "gif": saved("GIF"),
    "animated_gif": animated("GIF"),
    "animated_png": animated("PNG"),
    "animated_webp": animated("WEBP"),
    "animated_avif": animated("AVIF"),
    "bmp": saved("BMP"),
    "ppm": saved("PPM"),
    "ppm16": ppm16,
}
BASELINE = ("jpeg", "grey", "exif")
NOISE_MISSED = 0.1  # at most this share of the baseline JPEGs with noise may be accepted with other pixels
FEWEST_WITH_NOISE = 20  # a share of fewer files says nothing
# Their first image is whole if only the end of the file is missing.
FOLLOWED_BY_OTHER_IMAGES = ("mpo", "map")
# They are refused, and also if their end is missing.
REFUSED = (
    "thumbnail_first",
    "inside_a_thumbnail",
    "masked",
    "animated_png",
    "animated_webp",
    "animated_avif",
    "animated_gif",
)


@cache
def undamaged(kind: str, seed: int) -> bytes:
    """The content of an undamaged file."""
    return KINDS[kind](draw(seed))


@cache
def pixels_of(data: bytes) -> np.ndarray:
    return decode(data)


def damaged(data: bytes, way: str, rng: random.Random) -> bytes:
    """Return the bytes with one damage. With the way "name", return the bytes unchanged."""
    if way == "structure":
        return damage_structure(data, rng)

    start = max(data.find(b"\xff\xda") + 14, 0) if data.startswith(b"\xff\xd8") else 0
    length = min(rng.randint(SHORTEST_GAP_BYTES, 4 * SHORTEST_GAP_BYTES), (len(data) - start) // 2)
    place = rng.randrange(start, len(data) - 2)
    gap = rng.randrange(start, len(data) - 2 - length)
    if way == "bit":
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if way == "cut":
        return data[: rng.randrange(len(data))]
    if way == "zeros":
        return data[:gap] + bytes(length) + data[gap + length :]
    if way == "noise":
        return data[:gap] + rng.randbytes(length) + data[gap + length :]
    return rng.randbytes(len(data)) if way == "foreign" else data


class Damaged(NamedTuple):
    """A damaged file: how it was made, its content before and after the damage, and its name."""

    kind: str
    way: str
    whole: bytes
    data: bytes
    name: str
    where: str


def fuzz(
    count: int, seed: int, kinds: Sequence[str] = tuple(KINDS), ways: Sequence[str] = WAYS
) -> Counter[tuple[str, str, str]]:
    """Examine `count` damaged files of some kinds, damaged in some ways.

    Returns:
        The number of files by (kind, way, outcome). The outcome is "refused", "the same" or "other pixels".

    Raises:
        AssertionError: A rule is broken. The message says how to repeat it.
    """
    rng = random.Random(seed)
    outcomes: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / GOOD).write_bytes(undamaged("png", 1))
        for start in range(0, count, FILES_PER_BATCH):
            numbers = range(start, min(start + FILES_PER_BATCH, count))
            batch = [_make(folder, number, seed, rng, kinds, ways) for number in numbers]
            for file, outcome in zip(batch, _examined(folder, batch), strict=True):
                _check_outcome(file, outcome)
                outcomes[file.kind, file.way, outcome] += 1
    _check_noise(outcomes, seed)
    return outcomes


def _make(
    folder: Path, number: int, seed: int, rng: random.Random, kinds: Sequence[str], ways: Sequence[str]
) -> Damaged:
    kind, way = rng.choice(kinds), rng.choice(ways)
    whole = undamaged(kind, rng.randrange(SEEDS))
    data = damaged(whole, way, rng)
    name = f"{number}{rng.choice(SUFFIXES)}"
    (folder / name).write_bytes(data)
    return Damaged(kind, way, whole, data, name, f"{kind}, {way}, number {number} of seed {seed}")


def _examined(folder: Path, batch: list[Damaged]) -> list[str]:
    """Examine files, each fourth one also as a mask of a good image. Return the outcome of each file."""
    names = [file.name for file in batch]
    as_masks = names[::4]
    files = pd.DataFrame({"path": names + [GOOD] * len(as_masks), "mask": [None] * len(names) + as_masks})

    faulthandler.dump_traceback_later(SECONDS_OF_A_HANG, exit=True, file=sys.stderr)
    started = time.process_time()
    found = examine(files, folder, blank(len(files)), CONFIG)
    seconds = time.process_time() - started
    faulthandler.cancel_dump_traceback_later()

    if seconds > SECONDS_ALLOWED:
        _check_seconds(folder, batch, seconds)
    if not found["reason"].dropna().str.strip().all():
        raise AssertionError(f"refused without a reason: {names}")

    outcomes = []
    for file, (_, result) in zip(batch, found.iloc[: len(batch)].iterrows(), strict=True):
        outcomes.append("refused" if pd.notna(result["reason"]) else _accepted(file, result))
    return outcomes


def _check_seconds(folder: Path, batch: list[Damaged], seconds: float) -> None:
    """Raise AssertionError if one of the files takes too long alone."""
    if len(batch) == 1:
        raise AssertionError(f"{batch[0].where}: {seconds:.1f} s")
    for file in batch:
        _examined(folder, [file])


def _accepted(file: Damaged, found: pd.Series) -> str:
    header, image = read_header(file.data), decode(file.data)
    height, width = image.shape[:2]
    if {width, height} != {header.width, header.height} or (found["width"], found["height"]) != (width, height):
        raise AssertionError(f"{file.where}: wrongly accepted, {header}, {image.shape}")
    if width * height > CONFIG.max_pixels or min(width, height) < CONFIG.min_size:
        raise AssertionError(f"{file.where}: wrongly accepted, {width}x{height}")
    if file.kind in REFUSED:
        return "other pixels"
    return "the same" if np.array_equal(image, pixels_of(file.whole)) else "other pixels"


def _check_outcome(file: Damaged, outcome: str) -> None:
    kind, way, where = file.kind, file.way, file.where
    has_checksums = kind.startswith("png") and way != "structure"
    cut = way == "cut" and kind not in FOLLOWED_BY_OTHER_IMAGES
    if outcome == "other pixels" and (has_checksums or cut or way == "foreign"):
        raise AssertionError(f"{where}: wrongly accepted with {outcome}")
    expected = "refused" if kind in REFUSED else "the same"
    if way == "name" and outcome != expected:
        raise AssertionError(f"{where}: an undamaged file is {outcome}")


def _check_noise(outcomes: Counter[tuple[str, str, str]], seed: int) -> None:
    with_noise: Counter[str] = Counter()
    for (kind, way, outcome), number in outcomes.items():
        if kind in BASELINE and way == "noise":
            with_noise[outcome] += number
    missed, total = with_noise["other pixels"], with_noise.total()
    if total >= FEWEST_WITH_NOISE and missed > NOISE_MISSED * total:
        raise AssertionError(f"{missed} of {total} JPEGs with noise were accepted with other pixels (seed {seed})")


def silence_libraries() -> None:
    """Let only Python write to the screen. Libraries in C print a line for almost every damaged file."""
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.simplefilter("ignore")


def main() -> None:
    """Examine as many damaged files as asked, and print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=None, help="to repeat a finding")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--ways", nargs="+", choices=sorted(set(WAYS)), default=WAYS)
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    silence_libraries()

    outcomes = fuzz(options.count, seed, options.kinds, options.ways)
    totals: Counter[str] = Counter()
    by_kind: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for (kind, _, outcome), number in outcomes.items():
        totals[outcome] += number
        by_kind[kind][outcome] += number
    print(f"{options.count} damaged images of {len(options.kinds)} kinds: {dict(totals)}; nothing crashed, none hung")
    for kind in options.kinds:
        print(f"  {kind:<18} {dict(by_kind[kind])}")


if __name__ == "__main__":
    main()
