"""Speed and memory of an inspection, compared with a plain loop over tiles and with the network alone.

The network is a ResNet-18 at 128 px with random weights. We time three ways on one drawn photo, all
with the same number of threads:

- an inspection: decoding, tiles, answers with novelty, findings, overlays, close-ups and tables,
- a plain loop: each tile is cut, sent through the network, and described for its novelty, one after the other,
- the ceiling: the network answers one batch in memory again and again, until it has answered as many
  tiles as the photo has.

The three take turns, so another program on the machine slows all of them down. A ratio is computed in every round,
and we print the median. There are ratios of time, and ratios of processor time, which other programs hardly change.

Then we write three photos of 100 megapixels: a GeoTIFF in tiles, a TIFF in strips, and a JPEG. A separate process
inspects each photo and prints its peak memory. This network is tiny, because the network does not change the peak.

    make bench-inspect, or: python -m tests.bench.bench_inspect [--width 4000] [--height 3000] [--rounds 3]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tifffile
import torch

from components.ingest.sources.synthetic_photo import draw_photo
from components.inspect.config import InspectConfig
from components.inspect.photo_reader import open_photo
from components.inspect.run import inspect_photos, prepare_folder, write_results
from components.inspect.tile_answers import BATCH_SIZE, Model
from components.inspect.tile_grid import CutTile, cut_tiles, make_grid
from components.shared.data.image_features import describe_images
from tests.inspection_model import dark_tile_model

SIDE = 128
LARGE_WIDTH, LARGE_HEIGHT = 12_544, 8_192  # 103 megapixels, whole parts of PART pixels
PART = 256
UTM_31 = [
    (33550, "d", 3, (0.002, 0.002, 0.0)),
    (33922, "d", 6, (0.0, 0.0, 0.0, 448251.8, 5411932.7, 0.0)),
    (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32631)),
]
LARGE_FORMS = ("tiled.tif", "strips.tif", "whole.jpg")


class Spent(NamedTuple):
    """Seconds of wall-clock time, and of processor time."""

    wall: float
    processor: float


def main() -> None:
    """Print the speeds, their ratios, and the peaks of memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=Path, help="inspect this file and print the peak; for the bench itself")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.large:
            print_peak(given.large, Path(folder))
            return
        compare_speed(Path(folder), given.width, given.height, given.rounds)
        for name in LARGE_FORMS:
            print_large(Path(folder) / name)


def compare_speed(folder: Path, width: int, height: int, rounds: int) -> None:
    """Print the time of the three ways, and their ratios."""
    image = draw_photo(1, seed=1, width=width, height=height).image
    photo = folder / "photo.jpg"
    cv2.imwrite(str(photo), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    model = dark_tile_model(folder / "model", SIDE, architecture="resnet18")
    tiles = int(np.prod(make_grid(width, height, SIDE, InspectConfig().overlap).shape))

    _network_alone(model, 1)  # the first call prepares the network
    measured = []
    for number in range(rounds):
        out = folder / f"out_{number}"
        inspection = _spent(lambda out=out: _inspect(photo, model, out))
        plain = _spent(lambda: _plain_loop(model, photo))
        ceiling = _spent(lambda: _network_alone(model, tiles))
        measured.append((inspection, plain, ceiling))

    print(f"a photo of {width}x{height} px, {tiles:,} tiles, {torch.get_num_threads()} threads, {rounds} rounds")
    print(f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} processors")
    for name, position in (("time", 0), ("processor time", 1)):
        times = [[way[position] for way in ways] for ways in measured]
        inspection, plain, ceiling = map(statistics.median, zip(*times, strict=True))
        faster = statistics.median(plain / inspection for inspection, plain, _ in times)
        reached = statistics.median(ceiling / inspection for inspection, _, ceiling in times)
        print(f"{name}: inspection {inspection:.1f} s, plain loop {plain:.1f} s, network alone {ceiling:.1f} s")
        print(f"{name}: {faster:.2f} times as fast as the plain loop; {reached:.2f} of the ceiling")


def _spent(work: Callable[[], None]) -> Spent:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - processor)


def _inspect(photo: Path, model: Model, out: Path, config: InspectConfig | None = None) -> None:
    config = config or InspectConfig()
    prepare_folder(out)
    inspected = inspect_photos([photo], model, config, out, lambda _: None)
    if inspected[0].error:
        raise SystemExit(f"{photo} was not inspected: {inspected[0].error}")
    write_results(inspected, model, config, out)


def _plain_loop(model: Model, path: Path) -> None:
    with open_photo(path) as photo:
        for tile in cut_tiles(photo, make_grid(photo.width, photo.height, SIDE, InspectConfig().overlap)):
            _answer_alone(model, tile)


def _answer_alone(model: Model, tile: CutTile) -> None:
    inputs = torch.from_numpy(np.ascontiguousarray(tile.pixels)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        model.network.logits_and_embeddings(inputs.to(model.network.mean.device))
    describe_images([tile.pixels])


def _network_alone(model: Model, tiles: int) -> None:
    """Let the network answer this number of tiles, rounded up to whole batches."""
    device = model.network.mean.device
    size = BATCH_SIZE[device.type]
    batch = torch.zeros(size, SIDE, SIDE, 3, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    with torch.inference_mode():
        for _ in range(-(-tiles // size)):
            model.network.logits_and_embeddings(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()


def print_large(path: Path) -> None:
    """Write a large photo part by part, and inspect it in a separate process."""
    write_large(path)
    command = [sys.executable, "-m", "tests.bench.bench_inspect", "--large", str(path)]
    subprocess.run(command, check=True)
    path.unlink()


def write_large(path: Path) -> None:
    """Write a photo of LARGE_WIDTH x LARGE_HEIGHT pixels. Only a JPEG is in memory as a whole."""
    shape = (LARGE_HEIGHT, LARGE_WIDTH, 3)
    if path.name == "tiled.tif":
        options = {"tile": (PART, PART), "compression": "zlib", "extratags": UTM_31}
        tifffile.imwrite(path, _parts(PART, PART), shape=shape, dtype=np.uint8, photometric="rgb", **options)
    elif path.name == "strips.tif":
        strips = _parts(PART, LARGE_WIDTH)
        tifffile.imwrite(path, strips, shape=shape, dtype=np.uint8, photometric="rgb", rowsperstrip=PART)
    else:
        cv2.imwrite(str(path), np.concatenate(list(_parts(PART, LARGE_WIDTH))))


def _parts(height: int, width: int) -> Iterator[np.ndarray]:
    """Yield the parts of a large photo, row by row: concrete with a dark line in every part."""
    noise = np.random.default_rng(1).normal(180, 8, (height, width, 3)).clip(0, 255).astype(np.uint8)
    part = cv2.line(noise, (0, height // 2), (PART - 1, height // 2), (50, 50, 50), 20)
    for _ in range((LARGE_HEIGHT // height) * (LARGE_WIDTH // width)):
        yield part


def print_peak(path: Path, folder: Path) -> None:
    """Inspect a photo in this process, and print the peak of its memory."""
    model = dark_tile_model(folder / "model", SIDE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = _spent(lambda: _inspect(path, model, folder / "out", InspectConfig(overlap=0.0)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{path.name}, {LARGE_WIDTH}x{LARGE_HEIGHT} px: peak {peak / 2**20:.2f} GiB, of which {before / 2**20:.2f} GiB "
        f"are libraries and model; {spent.processor:.0f} s of processor time"
    )


if __name__ == "__main__":
    main()
