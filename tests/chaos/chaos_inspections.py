"""We kill an inspection of 200 photos again and again. Does it end as if nothing had happened?

SIGKILL ends the inspection at random moments, and we start it again. The record of a finished photo must never be
written twice. The tables must be the same as those of an undisturbed inspection. The exit status is 1 if this fails.

    make chaos, or: python tests/chaos/chaos_inspections.py [--photos 200] [--kills 20]
"""

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from multiprocessing.context import ForkProcess
from pathlib import Path

import cv2
import numpy as np
import torch

from components.inspect.config import InspectConfig
from components.inspect.run import inspect_photos, prepare_folder, write_results
from components.inspect.tile_answers import Model
from tests.inspection_model import dark_tile_model

SIDE = 32
WIDTH, HEIGHT = 160, 120
TABLES = ("photos.csv", "findings.csv", "findings.geojson")
FORK = multiprocessing.get_context("fork")  # a child does not load the libraries again


def main() -> None:
    """Kill an inspection again and again, and print what was redone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)  # a forked process cannot use the threads of its parent
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(not survives(Path(folder), given.photos, given.kills))


def survives(folder: Path, number: int, kills: int) -> bool:
    """Return whether the killed inspection redid nothing and has the results of one that nobody disturbed."""
    photos = draw(folder / "photos", number)
    model = dark_tile_model(folder / "model", SIDE)
    calm, killed = folder / "calm", folder / "killed"
    seconds = _seconds_of(photos, model, calm)

    rng = random.Random(1)
    first_seen: dict[str, int] = {}
    survived = []
    for _ in range(kills):
        child = _started(photos, model, killed)
        child.join(rng.uniform(0, 2 * seconds / kills))
        child.kill()
        child.join()
        survived.append(len(_times(killed)))
        first_seen = _times(killed) | first_seen
    _finish(photos, model, killed)

    redone = [name for name, written in first_seen.items() if _times(killed)[name] != written]
    different = [name for name in TABLES if (calm / name).read_bytes() != (killed / name).read_bytes()]
    print(f"{number} photos, {kills} times SIGKILL; finished photos at each: {', '.join(map(str, survived))}")
    print(f"finished photos that were inspected again: {len(redone)}; tables that differ: {', '.join(different) or 0}")
    unfinished = [path.name for path in killed.rglob(".*")]
    print(f"unfinished files that are left: {len(unfinished)}")
    return not redone and not different


def draw(folder: Path, number: int) -> list[Path]:
    """Write small photos of concrete; every second one has a dark line."""
    folder.mkdir()
    paths = []
    for index in range(number):
        noise = np.random.default_rng(index).normal(180, 8, (HEIGHT, WIDTH, 3))
        photo = noise.clip(0, 255).astype(np.uint8)
        if index % 2:
            cv2.line(photo, (10, 20), (WIDTH - 10, HEIGHT - 20), (50, 50, 50), 24)
        paths.append(folder / f"{index:03d}.png")
        cv2.imwrite(str(paths[-1]), photo)
    return paths


def _finish(photos: list[Path], model: Model, out: Path) -> None:
    prepare_folder(out)
    inspected = inspect_photos(photos, model, InspectConfig(close_ups=1), out, lambda _: None)
    write_results(inspected, model, InspectConfig(close_ups=1), out)


def _started(photos: list[Path], model: Model, out: Path) -> ForkProcess:
    child = FORK.Process(target=_finish, args=(photos, model, out))
    child.start()
    return child


def _seconds_of(photos: list[Path], model: Model, out: Path) -> float:
    start = time.perf_counter()
    child = _started(photos, model, out)
    child.join()
    return time.perf_counter() - start


def _times(out: Path) -> dict[str, int]:
    """Return when each record was written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "photos").glob("*.json")}


if __name__ == "__main__":
    main()
