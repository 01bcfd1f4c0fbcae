"""Damage saved models and training checkpoints in every way that storage can, and check that no damaged file is loaded.

    make fuzz

At random places of each file, it flips bits, replaces bytes, cuts off the end, zeroes parts, repeats parts and inserts
bytes. Every damage must raise `InputError` with one line that names the file. No damaged file may load or cause another
error.
"""

import argparse
import hashlib
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from components.shared.errors import InputError
from components.shared.network.network import build_network, describe
from components.shared.network.saved_network import load_network, save_network
from components.train.checkpoints import FORMAT, read_checkpoint


def damage(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one damage; never the same bytes."""
    place = rng.randrange(len(data))
    length = rng.randint(1, min(64, len(data) - place))
    ways: list[Callable[[], bytes]] = [
        lambda: data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
        lambda: data[:place] + rng.randbytes(length) + data[place + length :],
        lambda: data[:place] + bytes(length) + data[place + length :],
        lambda: data[:place],
        lambda: data[:place] + data[place : place + length] + data[place:],
        lambda: data[:place] + rng.randbytes(length) + data[place:],
    ]

    while True:
        damaged = rng.choice(ways)()
        if damaged != data:
            return damaged


def make_model(folder: Path) -> tuple[list[Path], Callable[[], object]]:
    """Save a model; return its files, and a function that loads it."""
    save_network(build_network(describe("test_resnet", "none", 32, 1)), folder)
    return sorted(folder.iterdir()), lambda: load_network(folder)


def make_checkpoint(folder: Path) -> tuple[list[Path], Callable[[], object]]:
    """Write a checkpoint of a training; return its file, and a function that loads it."""
    folder.mkdir()
    path = folder / "checkpoint.pt"
    torch.save({"format": FORMAT, "step": 7, "network": {"weight": torch.rand(50, 50)}, "loss": 0.5}, path)
    name = f"{7:09d}-{hashlib.sha256(path.read_bytes()).hexdigest()}.pt"
    return [path], lambda: read_checkpoint(path, name)


def fuzz(count: int, seed: int) -> None:
    """Damage a file and load it, `count` times.

    Raises:
        AssertionError: A damaged file was loaded, or its error is not readable. The message says how to reproduce it.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        targets = [make_model(Path(scratch) / "model"), make_checkpoint(Path(scratch) / "checkpoints")]
        for _, load in targets:
            load()

        for number in range(count):
            files, load = targets[number % len(targets)]
            file = rng.choice(files)
            whole = file.read_bytes()
            file.write_bytes(damage(whole, rng))

            message = "it was loaded"
            try:
                load()
            except InputError as error:
                message = str(error)
            if "is damaged" not in message or "\n" in message:
                raise AssertionError(f"damage {number} of seed {seed} to {file.name}: {message}")
            file.write_bytes(whole)


def main() -> None:
    """Fuzz with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to reproduce its error")
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    fuzz(options.count, seed)
    print(f"{options.count} damaged saved models and checkpoints, seed {seed}: none was loaded")


if __name__ == "__main__":
    main()
