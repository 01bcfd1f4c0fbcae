"""Everything that only a GPU can show, as one table in a file, in less than 12 minutes on one GPU.

    make gpu-report                 on a machine with a GPU
    make gpu-report SMALL=1         small networks, also on a CPU: it shows that the script works

The parts are the tests in tests/gpu, the speed and the memory of trainings with and without torch.compile, the loader
compared with what the device needs, KernelSHAP, a training that is killed and resumed, and repeated trainings. The file
is written after each part. A part that fails has its error in the table, and the exit status is then 1.
"""

import argparse
import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from components.shared.data.manifest import read_splits, rows_of
from components.shared.data.versions import fetch
from components.shared.network.device import pick_device, pick_precision
from components.shared.network.network import build_network, describe
from components.shared.network.resize import Resize
from components.shared.network.saved_network import WEIGHTS
from components.shared.network.tiles import TileDataset, loader
from components.shared.processors import count_processors
from components.shared.revision import commit
from components.shared.services.store import Store
from components.train import loop
from components.train.augmentation import build_augmentation
from components.train.batches import TrainingBatches
from components.train.config import TrainConfig
from components.train.dry_run import describe_network, has_compiler
from components.train.fit import fit
from components.train.task import Task
from pipelines.local.embedded_stack import embedded_stack
from tests.bench.bench_explain import COALITIONS, Bench
from tests.bench.bench_train import AUGMENT, Contest, draw_tiles
from tests.tiny_version import commit_tiny_version

ROOT = Path(__file__).parents[2]
SECONDS_OF_TESTS = 300
KILLED_AFTER = 5  # steps
STEPS_OF_A_TRAINING = 12
KEY = "gpu-report"
SAME = "the same weights, byte for byte"


class Plan(NamedTuple):
    """The size of a report.

    Attributes:
        device: "cpu" or "cuda".
        networks: Architectures that are measured.
        trained: Architecture of the trainings that are killed and repeated.
        size: Height and width of the tiles, pixels.
        batch: Tiles in a batch.
        steps: Measured steps of each training.
        coalitions: Calls of the network in each measured KernelSHAP explanation.
    """

    device: str
    networks: tuple[str, ...]
    trained: str
    size: int
    batch: int
    steps: int
    coalitions: int


class Row(NamedTuple):
    """A line of the table."""

    what: str
    result: str


Part = Callable[[Plan], Iterator[Row]]


def large() -> Plan:
    """Return the plan for a GPU: the networks of prod.yaml."""
    return Plan("cuda", ("resnet50", "vit_base_patch16_224"), "resnet50", 224, 128, 40, COALITIONS)


def small(device: str) -> Plan:
    """Return the plan that shows in a few minutes that the script works."""
    return Plan(device, ("resnet10t", "test_vit"), "resnet10t", 64, 4, 2, 32)


def gpu_tests(plan: Plan) -> Iterator[Row]:
    """Run tests/gpu. They are skipped on a machine without a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_OF_TESTS, check=False)
    summary = done.stdout.strip().splitlines()[-1]
    if done.returncode != 0:
        raise RuntimeError(f"pytest tests/gpu: {summary}")
    yield Row("`pytest tests/gpu`", summary)


def training(plan: Plan) -> Iterator[Row]:
    """Measure trainings, with and without torch.compile, and the loader alone."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = draw_tiles(folder, 10 * plan.batch)
        labels = rows["label"].to_numpy()
        tiles = TileDataset(rows, folder / "version", Resize(plan.size), build_augmentation(AUGMENT))
        order = TrainingBatches(labels, plan.batch, steps=10**6, seed=1)
        batches = loader(tiles, order)
        loaded = _loader_rate(batches, plan)

        for architecture in plan.networks:
            for is_compiled in (False, True):
                what = f"{architecture}, {plan.size} px, batch {plan.batch}, {_precision(plan)}, channels_last"
                what += ", compiled" if is_compiled else ""
                if is_compiled and (plan.device == "cpu" or not has_compiler()):
                    yield Row(what, "not run: it needs a GPU and a C compiler")
                    continue

                contest = Contest(architecture, plan.device, plan.size, plan.batch, rows, folder, is_compiled)
                _forget_memory(plan)
                ceiling = contest.turn("ceiling", plan.steps)
                ours = contest.turn("ours", plan.steps)
                yield Row(f"{what}: fixed batch on the device", f"{ceiling:.0f} tiles/s")
                yield Row(f"{what}: training from shards", f"{ours:.0f} tiles/s, {ours / ceiling:.2f} of the above")
                yield Row(f"{what}: peak memory of both", _memory(plan))
                yield _hunger(f"{architecture}{', compiled' * is_compiled}", loaded, ceiling, batches.num_workers)
                del contest
                gc.collect()


def _loader_rate(batches: torch.utils.data.DataLoader, plan: Plan) -> float:
    """Return the tiles per second of a loader whose batches nobody uses."""
    iterator = iter(batches)
    # The workers decode these batches while they start.
    for _ in range(1 + batches.num_workers * (batches.prefetch_factor or 0)):
        next(iterator)

    started = time.perf_counter()
    for _ in range(plan.steps):
        next(iterator)
    return plan.batch * plan.steps / (time.perf_counter() - started)


def _hunger(network: str, loaded: float, ceiling: float, workers: int) -> Row:
    needed = -(-ceiling * workers // loaded)
    verdict = "enough" if loaded >= ceiling else f"too few: about {needed:.0f} are needed"
    result = f"{loaded:.0f} tiles/s from {workers} workers, the device takes {ceiling:.0f}: {verdict}"
    return Row(f"loader alone, compared with {network}", result)


def _precision(plan: Plan) -> str:
    return pick_precision("auto", plan.device)


def _forget_memory(plan: Plan) -> None:
    if plan.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _memory(plan: Plan) -> str:
    if plan.device == "cuda":
        return f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB of this process since its start"


def explaining(plan: Plan) -> Iterator[Row]:
    """Measure KernelSHAP, in batches and with one call of the network per coalition."""
    for architecture in plan.networks:
        network = build_network(describe(architecture, "none", plan.size, 1)).eval().to(plan.device)
        (naive, exact, fast, _), _ = Bench(network).seconds(plan.coalitions)
        result = f"{fast:.2f} s in {_precision(plan)}, {exact:.2f} s in fp32; one call per coalition: {naive:.2f} s"
        scaled = "" if plan.coalitions == COALITIONS else f" (measured with {plan.coalitions})"
        yield Row(f"KernelSHAP of one image, {COALITIONS} coalitions{scaled}, {architecture}", result)


def repeating(plan: Plan) -> Iterator[Row]:
    """Kill a training with SIGKILL, resume it, and compare the weights with those of other trainings."""
    with tempfile.TemporaryDirectory() as scratch, embedded_stack(Path(scratch) / "stack") as environment:
        folder = Path(scratch)
        os.environ.update(environment)
        store = Store(f"s3://crack/{KEY}")
        manifest, _, splits_path = commit_tiny_version(store, folder)
        splits, tiles = read_splits(splits_path), fetch(store, manifest, folder / "cache")

        def task(key: str | None, is_deterministic: bool) -> Task:
            config = TrainConfig(
                architecture=plan.trained, weights="none", input_size=64, steps=STEPS_OF_A_TRAINING, batch_size=8,
                dropout=0.2, ema=0.8, workers=0, devices=1, store=store.uri, deterministic=is_deterministic,
                checkpoint_minutes=1e-9, require_gpu=plan.device == "cuda",
            )  # fmt: skip
            train, val = rows_of(manifest, splits, "train"), rows_of(manifest, splits, "val")
            return Task(describe_network(config, 1), train, val, tiles, config, 1, key)

        process = multiprocessing.get_context("spawn").Process(
            target=train_until_killed, args=(task(KEY, True), folder / "killed")
        )
        process.start()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the training that should be killed ended with {process.exitcode}")

        record = fit(task(KEY, True), folder / "killed")
        if not record.resumed_at:
            raise RuntimeError("the killed training started again from step 0")
        for name, is_deterministic in {"whole": True, "again": True, "free": False, "free again": False}.items():
            fit(task(None, is_deterministic), folder / name)

        what = f"{plan.trained}, {STEPS_OF_A_TRAINING} steps in {record.precision}"
        kill = f"killed with SIGKILL after step {KILLED_AFTER}, resumed after step {record.resumed_at}"
        yield Row(f"{what}, {kill}", compared(folder / "killed", folder / "whole"))
        yield Row(f"{what}, twice with `deterministic: true`", compared(folder / "whole", folder / "again"))
        yield Row(f"{what}, twice without", compared(folder / "free", folder / "free again"))
        for name in ("killed", "again"):
            if compared(folder / "whole", folder / name) != SAME:
                raise RuntimeError(f"deterministic trainings gave other weights ({name})")


def train_until_killed(task: Task, folder: Path) -> None:
    """Train, and kill this process after some steps."""
    train_on = loop.Loop.train_on

    def killed(self: loop.Loop, images: torch.Tensor, labels: torch.Tensor) -> None:
        if self.step == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        train_on(self, images, labels)

    loop.Loop.train_on = killed  # type: ignore[method-assign]
    fit(task, folder)


def compared(one: Path, other: Path) -> str:
    """Return in words whether two saved networks are the same."""
    if (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes():
        return SAME
    first, second = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    differences = [(first[name].float() - second[name].float()).abs().max().item() for name in first]
    return f"other weights: they differ by up to {max(differences):.2g}"


PARTS: tuple[Part, ...] = (gpu_tests, training, explaining, repeating)


def write(out: Path, plan: Plan, rows: list[Row]) -> None:
    """Write the table."""
    name = torch.cuda.get_device_name() if plan.device == "cuda" else "no GPU"
    form = "" if plan == large() else " SMALL=1"
    machine = f"{name}, {count_processors()} processors, PyTorch {torch.__version__}, CUDA {torch.version.cuda}"
    lines = [
        f"# GPU report\n\n`make gpu-report{form}` on {machine}, commit {_commit()}\n",
        "| what | result |",
        "|---|---|",
    ]
    lines += [f"| {row.what} | {row.result} |" for row in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")


def _commit() -> str:
    try:
        return commit(ROOT)[:12]
    except (OSError, subprocess.CalledProcessError):
        return "unknown, because this is no checkout"


def report(plan: Plan, out: Path, parts: Iterable[Part] = PARTS) -> bool:
    """Run the parts and write the table. Return whether all of them succeeded."""
    rows: list[Row] = []
    succeeded = True
    for part in parts:
        started = time.monotonic()
        try:
            for row in part(plan):
                rows.append(row)
                print(f"{row.what}: {row.result}", flush=True)
        except Exception as error:  # the other parts still run
            succeeded = False
            cause = (str(error).strip() or "no message").splitlines()[0]
            rows.append(Row(part.__name__, f"**failed**: {type(error).__name__}: {cause}"))
            print(f"{rows[-1].what}: {rows[-1].result}", flush=True)
        rows.append(Row(f"time of the part `{part.__name__}`", f"{time.monotonic() - started:.0f} s"))
        write(out, plan, rows)
    return succeeded


def main() -> None:
    """Write the report. Without a GPU, only the small one can be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-report.md")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    device = pick_device()
    if device == "cpu" and not options.small:
        sys.exit("PyTorch sees no GPU on this machine; add --small (make gpu-report SMALL=1) to try the script")

    torch.backends.cudnn.benchmark = True
    succeeded = report(small(device) if options.small else large(), options.out)
    print(f"the table is in {options.out}")
    sys.exit(0 if succeeded else 1)


if __name__ == "__main__":
    main()
