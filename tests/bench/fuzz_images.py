"""Damage picture files in every way that storage and people do, ingest them, and see that nothing bad gets in.

    make fuzz

Bits flipped, bytes replaced, zeroed and put in, ends cut off, ends cut off with the end marker put back, ends zeroed,
other files under a picture's name, pictures under another kind's name. Ingestion must not crash; every file must be in
the version or be refused with a reason of one line; and what got in must be the picture that it was, wherever the file
can tell: PNG by its checksums, every other kind when its end is missing. The rest is counted: a flipped bit in the
pixels of a BMP is another pixel, and in a JPEG or WebP decoders go on with what they find.
"""

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from components.ingest.config import IngestConfig
from components.ingest.ingestion import ingest_dataset
from components.ingest.synthetic import draw_dataset
from components.shared.image import decode
from components.shared.manifest import read_manifest
from components.shared.storage import Store
from pipelines.embedded_stack import embedded_stack

KINDS = {"JPEG": "jpg", "PNG": "png", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp", "GIF": "gif"}
END = {"JPEG": 2, "PNG": 12, "GIF": 1}  # bytes of the marker that ends the file
GREY_LEVELS = 1.0  # a mean difference from which a picture counts as another one


def _replace(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def damages(rng: random.Random) -> dict[str, Callable[[bytes, str], bytes]]:
    """By name, what makes damaged bytes of a whole file's bytes and its kind."""

    def span(data: bytes) -> tuple[int, int]:
        place = rng.randrange(len(data))
        return place, rng.randint(1, min(256, len(data) - place))

    def cut(data: bytes) -> bytes:
        return data[: rng.randrange(len(data))]

    def flip(data: bytes, kind: str) -> bytes:
        for _ in range(rng.randint(1, 8)):
            place = rng.randrange(len(data))
            data = _replace(data, place, bytes([data[place] ^ 1 << rng.randrange(8)]))
        return data

    def noise(data: bytes, kind: str) -> bytes:
        place, length = span(data)
        return _replace(data, place, rng.randbytes(length))

    def zeros(data: bytes, kind: str) -> bytes:
        place, length = span(data)
        return _replace(data, place, bytes(length))

    def insert(data: bytes, kind: str) -> bytes:
        place, length = span(data)
        return data[:place] + rng.randbytes(length) + data[place:]

    return {
        "bits flipped": flip,
        "bytes replaced": noise,
        "bytes zeroed": zeros,
        "bytes put in": insert,
        "end cut off": lambda data, kind: cut(data),
        "end cut off, marker put back": lambda data, kind: cut(data) + data[len(data) - END.get(kind, 1) :],
        "end zeroed": lambda data, kind: cut(data).ljust(len(data), b"\0"),
        "no picture": lambda data, kind: rng.randbytes(rng.randrange(400)),
        "name of another kind": lambda data, kind: data,
    }


def write_files(folder: Path, count: int, rng: random.Random) -> dict[str, tuple[str, str, bytes]]:
    """Write whole pictures to no_crack/, damaged ones to crack/; return their kind, damage and whole file."""
    tiles = [tile.image for tile in draw_dataset(40, seed=rng.randrange(2**31), size=64)]
    for name in ("crack", "no_crack"):
        (folder / name).mkdir(parents=True)
    for index, tile in enumerate(tiles[:20]):
        Image.fromarray(tile).save(folder / "no_crack" / f"{index}.png")
    ways, made = damages(rng), {}
    for number in range(count):
        kind, way = rng.choice(list(KINDS)), rng.choice(list(ways))
        buffer = BytesIO()
        Image.fromarray(rng.choice(tiles[20:])).save(buffer, kind)
        suffix = rng.choice(list(KINDS.values())) if way == "name of another kind" else KINDS[kind]
        path = f"crack/{number:05d}.{suffix}"
        (folder / path).write_bytes(ways[way](buffer.getvalue(), kind))
        made[path] = kind, way, buffer.getvalue()
    return made


def fuzz(count: int, seed: int, store: Store) -> Counter[tuple[str, str, str]]:
    """Damage `count` files and ingest them.

    Returns:
        Number of files by kind, damage and what became of them: refused, unharmed or changed.

    Raises:
        AssertionError: A file got in that should not, or was refused without a reason, or got lost.
    """
    rng = random.Random(seed)
    results: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = write_files(folder / "tiles", count, rng)
        config = IngestConfig(store=store.uri, min_images=1, max_refused=0.999)
        version = ingest_dataset(str(folder / "tiles"), folder / "manifest", folder / "page.html", config).digest
        report = json.loads(store.get_bytes(f"datasets/{version}/report.json"))
        reasons = {entry["path"]: entry["reason"] for entry in report["quarantine"]}
        taken = {*read_manifest(folder / "manifest").table["path"], *(copy["path"] for copy in report["copies"])}
        for path, (kind, way, whole) in made.items():
            told = f"{path} ({kind}, {way}, seed {seed})"
            if path in reasons:
                assert path not in taken, f"{told} is refused and taken"
                assert reasons[path].strip(), f"{told} is refused without a reason"
                assert "\n" not in reasons[path], f"{told}: {reasons[path]!r}"
                assert scratch not in reasons[path], f"{told}: {reasons[path]!r}"
                result = "refused"
            else:
                assert path in taken, f"{told} got lost"
                result = (
                    "unharmed" if _same(decode((folder / "tiles" / path).read_bytes()), decode(whole)) else "changed"
                )
            if result == "refused":
                assert way != "name of another kind", f"{told} is a good picture and refused: {reasons[path]}"
            if result == "changed":
                assert kind != "PNG", f"{told} got in, and its pixels are others"
                assert way not in ("end cut off", "no picture"), f"{told} got in"
            results[kind, way, result] += 1
    return results


def _same(image: np.ndarray, expected: np.ndarray) -> bool:
    difference = np.abs(image.astype(float) - expected).mean() if image.shape == expected.shape else 255
    return bool(difference < GREY_LEVELS)


def main() -> None:
    """Fuzz as often as asked, and tell what no decoder saw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=None, help="to repeat a finding")
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    with (
        tempfile.TemporaryDirectory() as workdir,
        embedded_stack(Path(workdir)) as environment,
        patch.dict("os.environ", environment),
    ):
        results = fuzz(options.count, seed, Store("s3://crack/fuzz"))
    ends: Counter[str] = Counter()
    for (_, _, result), number in results.items():
        ends[result] += number
    print(
        f"{options.count} damaged pictures, seed {seed}: {ends['refused']} refused, each with a reason; "
        f"{ends['unharmed']} unharmed; {ends['changed']} changed in a way that their files do not tell:"
    )
    for kind in KINDS:
        number, of = (
            sum(n for (k, _, r), n in results.items() if k == kind and (r == "changed" or every))
            for every in (False, True)
        )
        print(f"  {kind:4} {number:4} of {of}")


if __name__ == "__main__":
    main()
