"""Does a store that fails or lies ever lead to a wrong success? If so, the exit status is 1.

    make chaos, or: python tests/chaos/chaos_store.py [--runs 200] [--seed 1] [--only ingest]

A failing server passes requests on to a real S3 server. Its faults are 503, resets, 5 s delays, cut and shortened
bodies, bodies with a changed byte, lost writes and deletions, expired credentials, and a wrong clock. In some runs, we
also change a byte of an object on the disk of the real server. A run may end with an `InputError` that names the cause.
If a run ends without an error, its result must be right; we check the result on the real server. `--seed` repeats the
faults of an earlier call, if the requests come in the same order. A table shows how the runs ended.
"""

import argparse
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import tenacity.nap
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))  # for the package tests

import botocore.endpoint

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.shared.data.manifest import Manifest, read_manifest
from components.shared.data.shards import ShardReader
from components.shared.data.versions import fetch
from components.shared.errors import InputError
from components.shared.events import log
from components.shared.hashing import bytes_digest, file_digest
from components.shared.reuse import reuse
from components.shared.services.store import Store
from components.shared.step import step
from pipelines.local.embedded_stack import BUCKET, embedded_stack
from tests.faulty_s3 import FAULTS, FaultyS3, at_random, nothing
from tests.tiny_version import commit_tiny_version

ENDPOINT = "AWS_ENDPOINT_URL_S3"
# How many of a hundred runs are of each kind. A registration starts processes and takes longest.
SHARES = {"ingest": 30, "fetch": 25, "checkpoint": 20, "reuse": 20, "register": 5}
TILES = 16
ROT = "an object on the server's disk has another byte"
LATE_SHARE = 0.05
SHARES_OF_REQUESTS = (0.02, 0.15)


class WrongSuccessError(Exception):
    """A run said that it succeeded, but its result is missing or wrong."""


@dataclass(frozen=True)
class Scene:
    """What a run works with.

    Attributes:
        server: The failing server.
        direct: Address of the real server.
        disk: Folder of the bucket on this machine.
        folder: Empty folder of the run.
        uri: Storage root of the run.
        rng: Draws what the run does.
    """

    server: FaultyS3
    direct: str
    disk: Path
    folder: Path
    uri: str
    rng: random.Random

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Inside the block, the environment names the failing server. Outside, it names the real server."""
        one = self.rng.choice(tuple(FAULTS))
        chosen = (one,) if self.rng.random() < 0.5 else tuple(FAULTS)
        share = LATE_SHARE if chosen == ("late",) else self.rng.uniform(*SHARES_OF_REQUESTS)
        self.server.choose = at_random(share, chosen, self.rng.randrange(2**31))
        os.environ[ENDPOINT] = self.server.address
        try:
            yield
        finally:
            self.server.choose = nothing
            os.environ[ENDPOINT] = self.direct

    def rot(self, prefix: str) -> None:
        """In one of three runs, change one byte of a stored object. The change is made on the disk, under a prefix."""
        files = sorted(path for path in (self.disk / prefix).rglob("*") if path.is_file() and path.stat().st_size)
        if self.rng.random() < 1 / 3:
            path = self.rng.choice(files)
            data = bytearray(path.read_bytes())
            data[self.rng.randrange(len(data))] ^= self.rng.randrange(1, 256)
            path.write_bytes(data)
            self.server.happened[ROT] += 1


def require(holds: bool, what: str) -> None:
    """Raise `WrongSuccessError` unless a condition holds."""
    if not holds:
        raise WrongSuccessError(what)


@contextmanager
def warnings_of() -> Iterator[list[str]]:
    """Collect the project's warnings inside the block."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)


def make_tiles(folder: Path, rng: random.Random) -> set[str]:
    """Write tiles of both classes; return the sha256 of each file."""
    digests = set()
    for number in range(TILES):
        path = folder / ("crack", "no_crack")[number % 2] / f"p{number // 4}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(rng.randrange(2**31))
        field = cv2.resize(noise.normal(128, 60, (9, 9)), (64, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), (field + noise.normal(0, 3, (64, 64))).clip(0, 255).astype(np.uint8))
        digests.add(file_digest(path))
    return digests


def run_ingest(scene: Scene) -> None:
    """Ingest a folder or an S3 prefix. The version must have exactly the tiles of the source."""
    digests = make_tiles(scene.folder / "tiles", scene.rng)
    source = str(scene.folder / "tiles")
    if scene.rng.random() < 0.5:
        Store(f"{scene.uri}/source").put_folder("tiles", source)
        source = f"{scene.uri}/source/tiles"
    config = IngestConfig.model_validate({"store": f"{scene.uri}/store", "min_images": 2, "max_refused": 0.5})
    manifest_path, page = scene.folder / "manifest.parquet", scene.folder / "page.html"

    with scene.faults():
        ingest_dataset(source, manifest_path, page, config)

    manifest = read_manifest(manifest_path)
    require(set(manifest.table["sample_id"]) == digests, "the version lacks tiles of the source, or has others")
    check_images(manifest, fetch(Store(config.store), manifest, scene.folder / "cache"))
    again = ingest_dataset(source, manifest_path, page, config)
    require(again.digest == manifest.digest, "a second ingestion made another version")


def check_images(manifest: Manifest, folder: Path) -> None:
    """Check that each tile of a fetched version has the bytes that were ingested."""
    reader = ShardReader(folder)
    for row in manifest.table.itertuples():
        data = reader.read(row.shard, int(row.offset), int(row.size))
        require(bytes_digest(data) == row.sample_id, f"the tile {row.path} has other bytes")


def run_fetch(scene: Scene) -> None:
    """Fetch a version into a cache."""
    manifest, _, _ = commit_tiny_version(Store(scene.uri), scene.folder)
    scene.rot(f"{scene.uri.rpartition('/')[2]}/shards")
    with scene.faults():
        folder = fetch(Store(scene.uri), manifest, scene.folder / "cache")
    check_images(manifest, folder)


def run_checkpoint(scene: Scene) -> None:
    """Write three checkpoints, and read the newest one."""
    import torch

    from components.train.checkpoints import Checkpoints

    states = {step: {"weights": torch.full((64, 64), float(step))} for step in (1, 2, 3)}
    with warnings_of() as messages, scene.faults():
        checkpoints = Checkpoints(Store(scene.uri), "work")
        for number, state in states.items():
            checkpoints.save(number, state)
        checkpoints.wait()
        found = checkpoints.newest()

    for state in (found, Checkpoints(Store(scene.uri), "work").newest()):
        warned = any("checkpoint" in message for message in messages)
        require(warned or (state is not None and state["step"] == 3), "the newest checkpoint is not the last one")
        if state is not None:
            require(torch.equal(state["weights"], states[state["step"]]["weights"]), "a checkpoint has other weights")


def run_reuse(scene: Scene) -> None:
    """Do work, keep it, and reuse it."""
    content = {f"{number}/file": scene.rng.randbytes(5000) for number in range(4)}

    def produce(folder: Path) -> None:
        for name, data in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    def check(folder: Path) -> None:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        require(found == content, "the results are not those of the work")

    with warnings_of() as messages, scene.faults():
        reuse(Store(scene.uri), "key", scene.folder / "first", produce)
    check(scene.folder / "first")
    kept = not any("could not be stored" in message for message in messages)
    require(reuse(Store(scene.uri), "key", scene.folder / "second", produce) or not kept, "the work was not kept")
    check(scene.folder / "second")

    scene.rot(f"{scene.uri.rpartition('/')[2]}/runs")
    with scene.faults():
        reuse(Store(scene.uri), "key", scene.folder / "third", produce)
    check(scene.folder / "third")


def run_register(scene: Scene) -> None:
    """Register a model version. MLflow's own S3 client works through the failing server, too."""
    import mlflow

    from components.register.run import register_winner
    from components.shared.services import mlflow_runs
    from tests.components.register.conftest import make_winner

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scene.folder}/mlflow.db"
    mlflow_runs.client().create_experiment("crack-training", artifact_location=f"{scene.uri}/mlflow")
    winner, config = make_winner(Store(scene.uri), scene.folder)
    with scene.faults(), step("register", "job", scene.uri):
        record = register_winner(winner, config, job="job")

    version = f"models:/{record['name']}/{record['version']}"
    kept = Path(mlflow.artifacts.download_artifacts(version, dst_path=str(scene.folder / "kept"))) / "artifacts"
    sent = {f"model/{path.name}": path for path in Path(winner.model).iterdir()}
    sent["calibration.json"] = Path(winner.dossier) / "calibration.json"
    for name, path in sent.items():
        there = (kept / name).exists() and file_digest(kept / name) == file_digest(path)
        require(there, f"{name} of the registered version is missing or has other bytes")
    for name in ("model_card.md", "model_card.html", "training_rows.parquet"):
        require((kept / name).exists(), f"the registered version has no {name}")


RUNS: dict[str, Callable[[Scene], None]] = {
    "ingest": run_ingest,
    "fetch": run_fetch,
    "checkpoint": run_checkpoint,
    "reuse": run_reuse,
    "register": run_register,
}


def outcome_of(run: Callable[[Scene], None], scene: Scene) -> tuple[str, str]:
    """Return how a run ended, and the message if it did not end right."""
    try:
        run(scene)
    except WrongSuccessError as error:
        return "wrong success", str(error)
    except InputError as error:
        return "stopped with the cause", str(error)
    except Exception as error:  # an error that does not say what to do
        return "other error", f"{type(error).__name__}: {error}"
    return "right", ""


def leave_out_pauses() -> None:
    """Retry without pauses, so that hundreds of runs take only minutes."""
    no_pause: Any = SimpleNamespace(sleep=lambda seconds: None)
    tenacity.nap.time = botocore.endpoint.time = no_pause


def main() -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="of an earlier call, to repeat it")
    parser.add_argument("--only", choices=list(RUNS), default=None)
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed

    leave_out_pauses()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    log.addHandler(logging.NullHandler())
    log.propagate = False
    outcomes = {kind: Counter() for kind in RUNS}
    happened: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, embedded_stack(Path(scratch) / "stack") as environment:
        os.environ.update({name: value for name, value in environment.items() if name.startswith("AWS_")})
        direct = environment[ENDPOINT]
        disk = Path(scratch) / "stack" / "s3" / BUCKET
        with suppress(KeyboardInterrupt):  # what has run until then is reported
            for number, kind in enumerate(kinds(options.runs, options.only)):
                rng = random.Random(f"{seed} {number}")
                folder = Path(scratch) / f"run-{number}"
                folder.mkdir()
                with FaultyS3(direct, nothing, rng.randrange(2**31)).serving() as server:
                    scene = Scene(server, direct, disk, folder, f"s3://{BUCKET}/run-{number}", rng)
                    outcome, message = outcome_of(RUNS[kind], scene)
                outcomes[kind][outcome] += 1
                happened.update(server.happened)
                print(f"run {number}, {kind}: {outcome}{f': {message}' if message else ''}", flush=True)

    report(outcomes, happened, seed, time.monotonic() - started)
    return int(any(counter["wrong success"] + counter["other error"] for counter in outcomes.values()))


def kinds(runs: int, only: str | None) -> list[str]:
    """Return the kind of each run."""
    if only:
        return [only] * runs
    chosen: list[str] = []
    for kind, share in SHARES.items():
        chosen += [kind] * round(share * runs / 100)
    return chosen


def report(outcomes: dict[str, Counter], happened: Counter[str], seed: int, seconds: float) -> None:
    """Print how the runs ended, and how often each fault happened."""
    console = Console()
    table = Table(title=f"Seed {seed}, {seconds:.0f} s", title_justify="left")
    for title in ("kind", "runs", "right", "stopped with the cause", "other error", "wrong success"):
        table.add_column(title)
    for kind, counter in outcomes.items():
        ends = [counter[title] for title in ("right", "stopped with the cause", "other error", "wrong success")]
        table.add_row(kind, *map(str, [counter.total(), *ends]))
    console.print(table)
    for fault, count in happened.most_common():
        console.print(f"{count:6} times: {FAULTS.get(fault, fault)}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
