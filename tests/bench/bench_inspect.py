"""Photos per minute and peak memory of an inspection, beside a plain loop over tiles and the network's ceiling.

The network is a ResNet-18 at 128 px with random weights. The photos have 12 megapixels and are drawn. All three ways
answer the same tiles on the same threads:

- an inspection: decoding, tiles, answers with novelty, findings, overlays, close-ups and tables,
- a plain loop: each tile is cut, sent through the network, and described for its novelty, one after the other,
- the ceiling: the network on one fixed batch, which is in memory, as often as there are tiles.

Usage: python -m tests.bench.bench_inspect [photos]
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from components.ingest.sources.synthetic_photo import draw_photo
from components.inspect.config import InspectConfig
from components.inspect.photo_reader import open_photo
from components.inspect.run import inspect_photos, prepare_folder, write_results
from components.inspect.tile_answers import BATCH_SIZE, Model
from components.inspect.tile_grid import CutTile, cut_tiles, make_grid
from components.shared.data.image_features import describe_images
from tests.inspection_model import dark_tile_model

WIDTH, HEIGHT, SIDE = 4000, 3000, 128


def main() -> None:
    """Print the three speeds and their ratios."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    with tempfile.TemporaryDirectory() as folder:
        photos = [_drawn(Path(folder) / f"{number}.jpg", number) for number in range(1, count + 1)]
        model = dark_tile_model(Path(folder) / "model", SIDE, architecture="resnet18")
        out = Path(folder) / "out"
        prepare_folder(out)

        start = time.perf_counter()
        inspected = inspect_photos(photos, model, InspectConfig(), out, lambda _: None)
        write_results(inspected, model, InspectConfig(), out)
        spent = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

        tiles = sum(photo.record.tiles for photo in inspected if photo.record)
        plain = _plain_loop(model, photos[0]) * count
        ceiling = _ceiling(model, tiles)
    print(f"{count} photos of {WIDTH}x{HEIGHT} px, {tiles:,} tiles, {torch.get_num_threads()} threads")
    print(f"inspection: {spent / count:.1f} s a photo, {60 * count / spent:.1f} photos a minute, peak {peak:.2f} GiB")
    print(f"plain loop: {plain / count:.1f} s a photo; an inspection is {plain / spent:.2f} times as fast")
    print(f"ceiling: {ceiling / count:.1f} s a photo; an inspection reaches {ceiling / spent:.2f} of it")


def _drawn(path: Path, number: int) -> Path:
    image = draw_photo(number, seed=1, width=WIDTH, height=HEIGHT).image
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def _plain_loop(model: Model, path: Path) -> float:
    """Return the seconds of one photo."""
    start = time.perf_counter()
    with open_photo(path) as photo:
        for tile in cut_tiles(photo, make_grid(photo.width, photo.height, SIDE, InspectConfig().overlap)):
            _answer_alone(model, tile)
    return time.perf_counter() - start


def _answer_alone(model: Model, tile: CutTile) -> None:
    inputs = torch.from_numpy(np.ascontiguousarray(tile.pixels)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        model.network.logits_and_embeddings(inputs.to(model.network.mean.device))
    describe_images([tile.pixels])


def _ceiling(model: Model, tiles: int) -> float:
    """Return the seconds that the network alone needs for this number of tiles."""
    device = model.network.mean.device
    size = BATCH_SIZE[device.type]
    batch = torch.zeros(size, SIDE, SIDE, 3, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    repeats = -(-tiles // size)
    with torch.inference_mode():
        model.network.logits_and_embeddings(batch)
        start = time.perf_counter()
        for _ in range(repeats):
            model.network.logits_and_embeddings(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - start) * tiles / (repeats * size)


if __name__ == "__main__":
    main()
