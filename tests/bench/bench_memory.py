"""The peak memory of whole local runs over more and more tiles: of the run and all its processes, by step.

Memory that processes share, such as libraries, is counted once (the proportional set size of `/proc`, so Linux only).
It is read four times a second; a shorter peak can be missed.

    make bench-memory, or: python tests/bench/bench_memory.py [--tiles 10000 20000 40000]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from pipelines.local.progress import EventFile, Timeline
from pipelines.local.run import EVENTS

ROOT = Path(__file__).parents[2]
PROGRAM = str(Path(sys.executable).with_name("crack-pipeline"))
PARAMS = ROOT / "tests" / "chaos" / "small_run.yaml"
SECONDS_BETWEEN = 0.25
SIDE = 64
BEFORE = "(start)"
WHOLE = "the whole run"


def tree_memory(process: psutil.Process) -> int:
    """The memory of a process and of all processes that it started, in bytes."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):  # it has just ended
            total += member.memory_full_info().pss
    return total


def current_step(workdir: Path) -> str:
    """Return the step that started last in the only run of a workdir."""
    timeline = Timeline(0)
    for path in (workdir / "runs").glob(f"*/{EVENTS}"):
        with closing(EventFile(path)) as events:
            for event in events.read():
                timeline.apply(event)
    return next(reversed(timeline.steps), BEFORE)


def peaks(workdir: Path, tiles: int) -> dict[str, int]:
    """Run the pipeline over so many drawn tiles. Return the peak memory of each step and of the run, in bytes.

    Raises:
        SystemExit: The run failed. Its last lines are printed.
    """
    command = [PROGRAM, "run-local", "--workdir", str(workdir), "--params", str(PARAMS)]
    command += ["--set", f"data_uri=synthetic://?images={tiles}&seed=4&size={SIDE}"]
    log = workdir.with_suffix(".log")
    found = {WHOLE: 0}
    with log.open("w") as output:
        run = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        process = psutil.Process(run.pid)
        while run.poll() is None:
            memory, step = tree_memory(process), current_step(workdir)
            found[step] = max(found.get(step, 0), memory)
            found[WHOLE] = max(found[WHOLE], memory)
            time.sleep(SECONDS_BETWEEN)
    if run.returncode:
        raise SystemExit(f"the run over {tiles} tiles failed:\n{log.read_text()[-3000:]}")
    return found


def main() -> None:
    """Print the peaks of each run, by step, and what one more tile costs between the two largest runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs="+", default=[10_000, 20_000, 40_000])
    numbers = sorted(parser.parse_args().tiles)
    os.environ.pop("MLFLOW_TRACKING_URI", None)

    by_run = []
    for number in numbers:
        with tempfile.TemporaryDirectory() as scratch:
            by_run.append(peaks(Path(scratch) / "work", number))
            print(f"{number:,} tiles: peak {by_run[-1][WHOLE] / 2**30:.2f} GiB", flush=True)

    table = Table(title="Peak memory in GiB", title_justify="left")
    table.add_column("step")
    for number in numbers:
        table.add_column(f"{number:,} tiles", justify="right")
    for step in by_run[-1]:
        table.add_row(step, *(f"{found.get(step, 0) / 2**30:.2f}" for found in by_run))
    Console(width=120).print(table)
    if len(numbers) > 1:
        growth = (by_run[-1][WHOLE] - by_run[-2][WHOLE]) / (numbers[-1] - numbers[-2])
        print(f"between the two largest runs, one more tile costs {growth / 2**10:.1f} KiB")


if __name__ == "__main__":
    main()
