"""What ingestion and fetching cost, compared with rclone and boto3 on the same files and the same local S3 server.

    make bench-data             # 1,000 and 10,000 drawn tiles
    make bench-data FULL=1      # and 100,000: five minutes on two cores, 8 GB of disk

Real tiles come from the CCIC folder beside the checkout (`../shared/data/ccic`), or from --real. Without real tiles,
their part of the table is skipped. In one run, our code and the other programs take turns, and the table shows the
median. Each ingestion runs in its own process. Its seconds begin after the process has started. Its peak memory is
that of the whole process.
"""

import argparse
import csv
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.shared.data.manifest import read_manifest
from components.shared.data.versions import fetch, read_version
from components.shared.services.store import Store
from pipelines.local.embedded_stack import embedded_stack

ROOT = Path(__file__).resolve().parents[2]
TURNS = 5
LARGE = 100_000
SHORT = 5_000  # tiles that are ingested so fast that the median of several turns counts
NEW = 0.01  # share of new files in a source that grew


def ingest(data: Path | str, store: str) -> dict[str, Any]:
    """Ingest in a separate process; returns its seconds, processor seconds, peak memory in MB, and the digest."""
    command = [sys.executable, __file__, "--ingest", str(data), "--store", store]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def ingest_here(data: str, store: str) -> None:
    """Ingest in this process, and print the measurements. Before that, a small ingestion loads the libraries."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = Path(scratch, "manifest"), Path(scratch, "page")
        ingest_dataset("synthetic://?images=80&size=64", *paths, IngestConfig(store=f"{store}-warm", min_images=5))
        start, worked = time.perf_counter(), time.process_time()
        digest = ingest_dataset(data, *paths, IngestConfig(store=store)).digest
        seconds, worked = time.perf_counter() - start, time.process_time() - worked
    # From the kernel, because getrusage would start with the peak of the process that started this one.
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]
    print(json.dumps({"seconds": seconds, "worked": worked, "peak": peak, "digest": digest}))


def rclone(source: str, target: str) -> None:
    """Copy with rclone's defaults; `:s3:` is the server of the environment."""
    remote = {"RCLONE_S3_PROVIDER": "Other", "RCLONE_S3_ENV_AUTH": "true", "RCLONE_CONFIG": "/dev/null"}
    remote["RCLONE_S3_ENDPOINT"] = os.environ["AWS_ENDPOINT_URL_S3"]
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
    subprocess.run([program, "copy", "--quiet", source, target], check=True, env=os.environ | remote)


def fetch_version(store: Store, digest: str, cache: Path) -> None:
    """Fetch the manifest, and then the shards that it names."""
    version, manifest = read_version(store, digest), cache / "manifest.parquet"
    assert version
    manifest.write_bytes(version.read(store, "manifest.parquet"))
    fetch(store, read_manifest(manifest), cache)


def seconds(work: Callable[[], object]) -> float:
    """How many seconds the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(what: str, value: str, limit: str, good: bool) -> None:
    """Print one line of the table; the limit "-" means that there is none."""
    verdict = "" if limit == "-" else "ok" if good else "MISSED"
    print(f"| {what:<58} | {value:>26} | {limit:>9} | {verdict:>6} |", flush=True)


def measure_duplicates(real: Path, scratch: Path) -> None:
    """Which of the known near duplicates of CCIC are put in one group."""
    paths = scratch / "manifest", scratch / "page"
    # A tile without a crack can overlap a tile with a crack, so we look at near duplicates alone.
    ingest_dataset(str(real), *paths, IngestConfig(store="s3://crack/duplicates", overlap=None))
    table = read_manifest(paths[0]).table.set_index("path")
    known = defaultdict(list)
    for line in csv.DictReader((real / "near_duplicate_groups.csv").open()):
        known[line["group"]].append(line["path"])
    pairs = [pair for group in known.values() for pair in combinations(group, 2)]
    kept = [(a, b) for a, b in pairs if a in table.index and b in table.index]
    together = sum(table.loc[a, "group_id"] == table.loc[b, "group_id"] for a, b in kept)
    share = (together + len(pairs) - len(kept)) / len(
        pairs
    )  # exact copies are kept once, and those with both labels not at all
    row(f"known near-duplicate pairs in one group, of {len(pairs)}", f"{share:.1%}", ">= 95 %", share >= 0.95)
    mixed = int((table.groupby("group_id")["label"].nunique() > 1).sum())
    row("groups that mix classes", str(mixed), "0", mixed == 0)


def measure_real(real: Path, scratch: Path) -> None:
    """Compare ingestion with an upload by `rclone copy`, and fetch with downloads by boto3 and `rclone copy`."""
    times: dict[str, list[float]] = defaultdict(list)
    loose = Store("s3://crack/loose-0")
    for turn in range(TURNS):
        uploaded = f":s3:crack/loose-{turn}"
        times["rclone up"].append(seconds(partial(rclone, str(real), uploaded)))
        made = ingest(real, f"s3://crack/version-{turn}")
        times["ingest"].append(made["seconds"])
        store, cache = Store(f"s3://crack/version-{turn}"), scratch / f"cache-{turn}"
        times["fetch"].append(seconds(partial(fetch_version, store, str(made["digest"]), cache)))
        times["rclone down"].append(seconds(partial(rclone, uploaded, str(scratch / f"down-{turn}"))))
        if turn < 2:
            times["boto3"].append(seconds(lambda: [loose.get_bytes(key) for key, _ in loose.list()]))
    middle = {name: statistics.median(values) for name, values in times.items()}
    tiles = sum(1 for _ in real.rglob("*.jpg"))
    both = f"{middle['ingest']:.2f} s / {middle['rclone up']:.2f} s"
    row(f"ingestion of {tiles} tiles / rclone copy", both, "<= 1", middle["ingest"] <= middle["rclone up"])
    for other, least in (("boto3", 10), ("rclone down", 3)):
        ratio = middle[other] / middle["fetch"]
        value = f"{middle[other]:.2f} s / {middle['fetch']:.3f} s = {ratio:.0f}"
        row(f"{other} of the loose files / fetch of the version", value, f">= {least}", ratio >= least)


def draw(folder: Path, first: int, last: int, pixels: int) -> None:
    """Write tiles `first` to `last`, each with its own texture, brightness and noise, so that no two tiles overlap."""
    for number in range(first, last):
        rng = np.random.default_rng(number)
        piece = rng.normal(0, 9, (pixels, pixels))
        for side in (64, 16, 4):
            piece += cv2.resize(rng.normal(0, 18, (side, side)), (pixels, pixels))
        tile = np.clip(piece + rng.uniform(90, 160), 0, 255).astype(np.uint8)
        path = folder / ("crack", "no_crack")[number % 2] / f"{number:06d}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(tile, cv2.COLOR_GRAY2BGR))


def measure_scale(sizes: list[int], pixels: int, scratch: Path) -> None:
    """Measure speed and memory for each number of tiles, then with an unchanged source, then with 1 % new tiles.

    The processor time for each tile, over all threads, shows how the cost grows, even on a machine that others use too.
    An ingestion has a fixed cost. To remove it, we compare two sizes: the row "those beyond 1000" divides the
    additional tiles by the additional seconds.
    """
    speeds: dict[int, float] = {}
    before = 0, 0.0
    for size in sizes:
        folder, store = scratch / "drawn", f"s3://crack/scale-{size}"
        for name in ("crack", "no_crack"):
            (folder / name).mkdir(parents=True)
        draw(folder, 0, size, pixels)
        turns = [ingest(folder, f"{store}-{turn}") for turn in range(1, TURNS if size < SHORT else 1)]
        turns.append(ingest(folder, store))
        first = sorted(turns, key=lambda turn: turn["seconds"])[len(turns) // 2]
        same = ingest(folder, store)
        draw(folder, size, size + max(1, round(NEW * size)), pixels)
        grown = ingest(folder, store)
        shutil.rmtree(folder)
        speeds[size] = size / first["seconds"]
        peaks = [first["peak"], same["peak"], grown["peak"]]
        slowest = min(speeds.values()) / max(speeds.values())
        value = f"{first['seconds']:.1f} s, {speeds[size]:.0f}/s, {1000 * first['worked'] / size:.2f} ms"
        row(f"{size} drawn tiles: slowest to fastest {slowest:.2f}; processor time", value, ">= 0.80", slowest >= 0.8)
        if before[0]:
            more = (size - before[0]) / (first["seconds"] - before[1])
            row(f"{size} drawn tiles: those beyond {before[0]}", f"{more:.0f}/s", "-", True)
        before = size, first["seconds"]
        value = ", ".join(f"{peak:.0f}" for peak in peaks) + " MB"
        row(f"{size} drawn tiles: peak memory; unchanged, 1 % new", value, "< 700 MB", max(peaks) < 700)
        for what, again, most in (("unchanged", same, 0.10), ("1 % new", grown, 0.05)):
            share = again["seconds"] / first["seconds"]
            value = f"{again['seconds']:.2f} s = {share:.1%}"
            if size == LARGE:  # at smaller sizes the fixed cost is too large a part
                row(f"{size} drawn tiles: {what}", value, f"< {most:.0%}", share < most)
            else:
                row(f"{size} drawn tiles: {what}", value, "-", True)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=ROOT.parent / "shared" / "data" / "ccic")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000], help="numbers of drawn tiles")
    parser.add_argument("--pixels", type=int, default=256, help="side of a drawn tile; those of SDNET2018 have 256")
    parser.add_argument("--full", action="store_true", help="100,000 drawn tiles too")
    parser.add_argument("--ingest", help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ingest:
        ingest_here(options.ingest, options.store)
        return
    with tempfile.TemporaryDirectory() as scratch, embedded_stack(Path(scratch)) as environment:
        os.environ.update(environment)
        if options.real.is_dir():
            measure_duplicates(options.real, Path(scratch))
            measure_real(options.real, Path(scratch))
        else:
            print(f"no real tiles at {options.real}: their part is skipped")
        measure_scale([*options.sizes, *[LARGE] * options.full], options.pixels, Path(scratch))


if __name__ == "__main__":
    main()
