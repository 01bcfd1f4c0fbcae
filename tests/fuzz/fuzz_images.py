"""Damage images in every way that storage and transfers do, and examine them.

    make fuzz

The damages are flipped bits, missing ends, zeros, noise, foreign bytes, and names with the suffix of another kind. The
kinds are JPEG (baseline, progressive, grey), PNG, TIFF and WebP. Nothing may crash, and every refusal must have a
reason. An accepted image must show the same pixels as the undamaged one. There are two exceptions, which are counted:
damage that leaves valid code words in a JPEG, mostly a progressive one, and formats without checksums.
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from components.ingest.config import IngestConfig
from components.ingest.examination import examine
from components.ingest.thumbnails import blank
from components.shared.data.image import ImageError, decode

SHORTEST_GAP_BYTES = 128
WAYS = ("bit", "cut", "zeros", "noise", "foreign", "name")


def draw(seed: int) -> np.ndarray:
    """A textured tile, BGR."""
    rng = np.random.default_rng(seed)
    field = cv2.resize(rng.normal(128, 60, (9, 9, 3)), (96, 96), interpolation=cv2.INTER_CUBIC)
    return np.clip(field + rng.normal(0, 8, field.shape), 0, 255).astype(np.uint8)


KINDS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], list[int]]] = {
    "jpeg": (".jpg", lambda tile: tile, []),
    "progressive": (".jpg", lambda tile: tile, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "grey": (".jpg", lambda tile: cv2.cvtColor(tile, cv2.COLOR_BGR2GRAY), []),
    "png": (".png", lambda tile: tile, []),
    "png16": (".png", lambda tile: tile.astype(np.uint16) * 257, []),
    "tiff": (".tif", lambda tile: tile, []),
    "webp": (".webp", lambda tile: tile, []),
}
# In baseline JPEGs, these damages must be found.
BASELINE, EVIDENT = ("jpeg", "grey"), ("cut", "noise")


def damaged(data: bytes, way: str, rng: random.Random) -> bytes:
    """The bytes with one damage after the headers. Only the way "name" leaves them as they are."""
    start = max(data.find(b"\xff\xda") + 14, 0) if data.startswith(b"\xff\xd8") else 0
    length = rng.randint(SHORTEST_GAP_BYTES, 4 * SHORTEST_GAP_BYTES)
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


def fuzz(count: int, seed: int) -> Counter[tuple[str, str, str]]:
    """Examine `count` damaged files.

    Returns:
        The number of files by (kind, way, outcome). The outcome is "refused", "the same" or "unseen": accepted, though
        the pixels differ.

    Raises:
        AssertionError: A damage that must be found was not; the message says how to repeat it.
    """
    rng = random.Random(seed)
    wholes, made = [], []

    with tempfile.TemporaryDirectory() as scratch:
        for number in range(count):
            kind, way = rng.choice(list(KINDS)), rng.choice(WAYS)
            suffix, change, options = KINDS[kind]
            whole = cv2.imencode(suffix, change(draw(rng.randrange(50))), options)[1].tobytes()
            name = f"{number}{rng.choice(['.jpg', '.png', '.tif', '.gif', '.txt', '']) if way == 'name' else suffix}"
            Path(scratch, name).write_bytes(damaged(whole, way, rng))
            wholes.append(whole)
            made.append((kind, way, name))
        outcomes: Counter[tuple[str, str, str]] = Counter()
        files = pd.DataFrame({"path": [name for _, _, name in made], "mask": None})
        found = examine(files, Path(scratch), blank(count), IngestConfig())
        accepted = found["reason"].isna().tolist()
        for (kind, way, name), whole, good, reason in zip(made, wholes, accepted, found["reason"], strict=True):
            outcome = "refused"
            if good:
                outcome = "the same" if same(whole, Path(scratch, name).read_bytes()) else "unseen"
            where = f"{kind}, {way}, {name} of seed {seed}"
            if not good and not reason.strip():
                raise AssertionError(f"{where}: refused without a reason")
            strict = kind.startswith("png") or way == "foreign" or (kind in BASELINE and way in EVIDENT)
            if (outcome == "unseen" and strict) or (way == "name" and outcome != "the same"):
                raise AssertionError(f"{where}: {outcome} {reason}")
            outcomes[kind, way, outcome] += 1
    return outcomes


def same(whole: bytes, data: bytes) -> bool:
    """Whether both show the same pixels."""
    try:
        return np.array_equal(decode(whole), decode(data))
    except ImageError:
        return False


def main() -> None:
    """Examine as many damaged files as asked, and print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=None, help="to repeat a finding")
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    outcomes = fuzz(options.count, seed)
    totals = Counter({name: sum(n for (*_, o), n in outcomes.items() if o == name) for *_, name in outcomes})
    print(f"{options.count} damaged images, seed {seed}: {dict(totals)}; nothing crashed")
    for (kind, way, outcome), number in sorted(outcomes.items()):
        if outcome == "unseen":
            print(f"  unseen: {kind:<12} {way:<6} {number} of {sum(outcomes[kind, way, o] for o in totals)}")


if __name__ == "__main__":
    main()
