"""Speed and memory of an inspection, compared with a plain loop over tiles and with the network alone.

Three ways answer the tiles of the same photos, with the same network and threads:

- the inspection itself: reading, tiles, novelty, map, findings and drawings,
- a plain loop: each tile is cut, scaled and answered alone, and nothing else is done,
- the ceiling: the network on one fixed tensor, in batches of the same size.

Targets: at least 1.5 times as fast as the loop, and at least 0.85 of the ceiling. Prints photos per minute, tiles per
second and the peak memory of the process.

Usage: python tests/bench/bench_inspect.py [PHOTOS] [WIDTH] [HEIGHT]
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import torch

from components.ingest.sources.synthetic_photo import draw_photo
from components.inspect.config import InspectConfig
from components.inspect.photo_reader import open_photo
from components.inspect.run import inspect_photos, prepare_folder
from components.inspect.tile_answers import BATCH_SIZE, Model
from components.inspect.tile_grid import cut_tiles, make_grid
from components.shared.network.resize import resize
from tests.inspection_model import dark_tile_model

ARCHITECTURE, SIDE = "resnet18", 128  # of make run


def main() -> None:
    """Print the figures of the three ways."""
    photos, width, height = (list(map(int, sys.argv[1:])) + [4, 3000, 2000][len(sys.argv) - 1 :])[:3]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = dark_tile_model(folder / "model", SIDE, architecture=ARCHITECTURE)
        files = []
        for number in range(1, photos + 1):
            files.append(folder / f"{number}.jpg")
            cv2.imwrite(str(files[-1]), draw_photo(number, 1, width, height).image[..., ::-1])
        compare(model, files, folder / "out")


def compare(model: Model, files: list[Path], out: Path) -> None:
    """Print tiles per second of each way."""
    prepare_folder(out)
    start = time.perf_counter()
    inspected = inspect_photos(files, model, InspectConfig(), out, lambda _: None)
    seconds = time.perf_counter() - start
    tiles = sum(photo.record.tiles for photo in inspected if photo.record)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    ours, loop, ceiling = tiles / seconds, loop_speed(model, files[0]), ceiling_speed(model)
    print(f"{len(files)} photos, {tiles} tiles, {torch.get_num_threads()} threads, {model.network.mean.device}")
    print(f"inspection: {60 * len(files) / seconds:.1f} photos a minute, {ours:.1f} tiles a second, peak {peak:.2f} GB")
    print(f"plain loop: {loop:.1f} tiles a second; the inspection is {ours / loop:.2f} times as fast (target 1.5)")
    print(f"ceiling: {ceiling:.1f} tiles a second; the inspection reaches {ours / ceiling:.2f} of it (target 0.85)")


def loop_speed(model: Model, file: Path, tiles: int = 200) -> float:
    """Tiles per second if each tile is answered alone."""
    with open_photo(file) as photo, torch.inference_mode():
        start = time.perf_counter()
        grid = make_grid(photo.width, photo.height, SIDE, 0.5)
        done = 0
        for tile in cut_tiles(photo, grid):
            image = torch.from_numpy(resize(tile.pixels, model.network.input_size).copy()).permute(2, 0, 1)[None]
            logits = model.network(image.to(model.network.mean.device)).cpu().numpy()
            model.calibration.p_crack(logits[:, 0], logits[:, 1])
            done += 1
            if done == tiles:
                break
        return done / (time.perf_counter() - start)


def ceiling_speed(model: Model, repetitions: int = 12) -> float:
    """Tiles per second of the network on a fixed tensor."""
    device = model.network.mean.device
    size = BATCH_SIZE[device.type]
    batch = torch.zeros(size, 3, SIDE, SIDE, dtype=torch.uint8, device=device).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        model.network(batch).cpu()
        start = time.perf_counter()
        for _ in range(repetitions):
            model.network(batch).cpu()
        return size * repetitions / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
