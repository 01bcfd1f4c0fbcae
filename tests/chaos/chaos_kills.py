"""We kill runs at random moments. Do they end as if nothing had happened? If not, the exit status is 1.

SIGKILL, SIGTERM or Ctrl-C ends runs of one small pipeline, and registrations and promotions of its model. Then we start
them again. In the end, each workdir must have the same data set, splits and weights as an undisturbed run. Its registry
must have one model version, and this version must be whole. A command must not fail before we kill it, and the next
command must not fail either. A table shows what was wrong.

The default is 50 kills. The estimate for a machine with two free cores is 40 minutes. Smaller numbers take less time.

    make chaos, or: python tests/chaos/chaos_kills.py [--fresh 20] [--runs 10] [--acts 10]
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, suppress
from multiprocessing import get_context
from pathlib import Path

from mlflow.tracking import MlflowClient
from rich.console import Console
from rich.table import Table

from components.shared.hashing import file_digest
from components.shared.services import mlflow_failures
from components.shared.services.mlflow_runs import CHALLENGER, CHAMPION, CHECKED
from components.shared.services.version_files import version_folder
from pipelines.local.embedded_stack import embedded_stack, tracking_uri
from pipelines.local.progress import EventFile, Timeline
from pipelines.local.run import EVENTS
from pipelines.registry.promotions import Registry

MODEL = "crack-classifier"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CHAIN = 5  # so many kills, and then the run may end
FIRST_SECONDS = 30.0
SHARE_OF_AN_ACT = 0.7  # the kills come in this share of an act, because it may take less time than it took before
SMALL_RUN = Path(__file__).with_name("small_run.yaml")
PROGRAM = str(Path(sys.executable).with_name("crack-pipeline"))


def command(workdir: Path) -> list[str]:
    return [PROGRAM, "run-local", "--workdir", str(workdir), "--params", str(SMALL_RUN)]


def start(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def killed(process: subprocess.Popen, seconds: float, kind: int, outcome: Counter) -> bool:
    """Kill a command after some seconds, and return true. If it has ended before, return false; an error is counted."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    if process.poll() is not None:
        finished(process, outcome)
        return False
    process.send_signal(kind)
    process.communicate()
    return True


def finished(process: subprocess.Popen, outcome: Counter) -> float:
    """Let a command end, and count a failure. Return the seconds until its end."""
    started = time.monotonic()
    output, _ = process.communicate()
    if process.returncode:
        outcome["commands that failed by themselves"] += 1
        print(output[-3000:], file=sys.stderr)
    return time.monotonic() - started


def newest_run(workdir: Path, earlier: set[Path]) -> dict[str, str]:
    """Return the state of each step of the run that is not in `earlier`: running, done or failed."""
    timeline = Timeline(0)
    for path in (workdir / "runs").glob(f"*/{EVENTS}"):
        if path.parent not in earlier:
            with closing(EventFile(path)) as events:
                for event in events.read():
                    timeline.apply(event)
    return {name: step.state for name, step in timeline.steps.items()}


def wait_for(process: subprocess.Popen, condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, or until the process has ended."""
    while process.poll() is None and not condition():
        time.sleep(0.02)


def start_until(workdir: Path, step: str) -> tuple[subprocess.Popen, set[Path]]:
    """Start a run, and wait until it starts a step. Return its process, and the folders of the runs before it."""
    earlier = set(workdir.glob("runs/*"))
    process = start(command(workdir))
    wait_for(process, lambda: step in newest_run(workdir, earlier))
    return process, earlier


def result(workdir: Path) -> dict[str, str]:
    """What a run made: the digests of the data set, of the splits and of the weights."""
    summary = json.loads((workdir / "summary.json").read_text())
    artifacts = next((workdir / "summary.json").resolve().parent.glob("artifacts/*"))
    weights = {path.parts[-3]: file_digest(path) for path in sorted(artifacts.glob("train*/model/model.safetensors"))}
    return {"data": summary["dataset_digest"], "splits": file_digest(artifacts / "split" / "splits"), **weights}


def check(workdir: Path, expected: dict[str, str], outcome: Counter) -> None:
    """Count the differences between this workdir and the workdir of an undisturbed run."""
    outcome["results that differ"] += result(workdir) != expected
    client = MlflowClient(tracking_uri(workdir))
    versions = client.search_model_versions(f"name = '{MODEL}'")
    outcome["registries without exactly one version"] += len(versions) != 1
    outcome["versions that did not pass the check"] += any(each.tags.get(CHECKED) != "passed" for each in versions)
    outcome["registries without a challenger"] += CHALLENGER not in client.get_registered_model(MODEL).aliases
    # In a process of its own, because MLflow keeps the first credentials of a storage, and each server has others.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        damage = process.submit(what_is_damaged, workdir, str(versions[0].version)).result()
    if damage:
        outcome["versions that are not whole"] += 1
        print(damage, file=sys.stderr)


def what_is_damaged(workdir: Path, version: str) -> str:
    """Return what is wrong with the files of a version. An empty text means nothing."""
    with embedded_stack(workdir) as environment, mlflow_failures.environment(environment):
        try:
            with version_folder(MODEL, version):
                return ""
        except Exception as error:
            return str(error)


def fresh_runs(workdir: Path, kills: int, expected: dict[str, str], rng: random.Random) -> tuple[int, Counter]:
    """Kill the first run of a fresh workdir, again and again, and check the run after the last kill.

    The files of a killed run must not disturb the next run. After each kill, a new run must reach the step ingest.
    """
    outcome: Counter = Counter()
    hits = 0
    for _ in range(kills):
        shutil.rmtree(workdir, ignore_errors=True)
        hits += killed(start(command(workdir)), rng.uniform(0.5, FIRST_SECONDS), rng.choice(SIGNALS), outcome)
        following, _ = start_until(workdir, "ingest")
        killed(following, 0, signal.SIGKILL, outcome)

    finished(start(command(workdir)), outcome)
    check(workdir, expected, outcome)
    return hits, outcome


def chain(
    workdir: Path, kills: int, longest: float, expected: dict[str, str], rng: random.Random
) -> tuple[int, Counter]:
    """Start and kill a run `kills` times, let one more run end, and check it. Return how many runs were killed."""
    outcome: Counter = Counter()
    hits = 0
    for _ in range(kills):
        hits += killed(start(command(workdir)), rng.uniform(0.5, longest), rng.choice(SIGNALS), outcome)
    finished(start(command(workdir)), outcome)
    check(workdir, expected, outcome)
    return hits, outcome


def registrations(workdir: Path, count: int, expected: dict[str, str], rng: random.Random) -> tuple[int, Counter]:
    """Kill runs at random moments of their step register. Their earlier steps are reused."""
    outcome: Counter = Counter()
    hits = 0
    longest = json.loads((workdir / "summary.json").read_text())["seconds"]["register"]["work"]
    for _ in range(count):
        client = MlflowClient(tracking_uri(workdir))
        if client.search_registered_models(f"name = '{MODEL}'"):
            client.delete_registered_model(MODEL)
        process, earlier = start_until(workdir, "register")
        killed(process, rng.uniform(0, SHARE_OF_AN_ACT * longest), rng.choice(SIGNALS), outcome)
        hits += newest_run(workdir, earlier).get("register") in ("running", "failed")

        finished(start(command(workdir)), outcome)
        check(workdir, expected, outcome)
    outcome["kills that were not inside register"] = count - hits
    return hits, outcome


def promotions(workdir: Path, count: int, rng: random.Random) -> tuple[int, Counter]:
    """Kill promotions at random moments. The next command must find a history and an alias that agree."""
    outcome: Counter = Counter()
    hits = 0
    registry = Registry(MlflowClient(tracking_uri(workdir)), MODEL)
    promote = [PROGRAM, "promote", "1", "--by", "Ada", "--why", "chaos", "--workdir", str(workdir)]
    storage = workdir / "s3.log"  # a promotion writes it when its imports are done

    def start_inside() -> subprocess.Popen:
        storage.unlink(missing_ok=True)
        process = start(promote)
        wait_for(process, storage.exists)
        return process

    longest = finished(start_inside(), outcome)
    for _ in range(count):
        if registry.alias(CHAMPION):
            registry.client.delete_registered_model_alias(MODEL, CHAMPION)
        entries = len(registry.history())
        hits += killed(start_inside(), rng.uniform(0, SHARE_OF_AN_ACT * longest), rng.choice(SIGNALS), outcome)
        finished(start(promote), outcome)
        new = registry.history()[entries:]
        outcome["promotions that the history lost"] += not new
        outcome["aliases that do not follow the history"] += registry.alias(CHAMPION) != "1"
    return hits, outcome


def add_row(table: Table, what: str, kills: int, outcome: Counter) -> int:
    """Add a row to the table and print it. Return how many kinds of things were wrong."""
    seen = [f"{count} {name}" for name, count in outcome.items() if count]
    wrong = ", ".join(seen) or "nothing"
    table.add_row(what, str(kills), wrong)
    print(f"{what}: {kills} kills, wrong at the end: {wrong}", flush=True)
    return len(seen)


def main() -> int:
    """Kill, start again, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", type=int, default=20, help="kills of the first run of a fresh workdir")
    parser.add_argument("--runs", type=int, default=10, help="other kills of runs")
    parser.add_argument("--acts", type=int, default=10, help="kills inside register, and as many inside promote")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

    table = Table(title="Killed at random moments, started again", title_justify="left")
    for title in ("killed", "kills", "what was wrong at the end"):
        table.add_column(title)

    with tempfile.TemporaryDirectory() as scratch:
        undisturbed = Path(scratch) / "undisturbed"
        failures: Counter = Counter()
        longest = finished(start(command(undisturbed)), failures)
        if failures:
            return 1
        expected = result(undisturbed)
        print(f"a run that nobody disturbs takes {longest:.0f} s", flush=True)

        fresh = fresh_runs(Path(scratch) / "fresh", options.fresh, expected, rng)
        wrong = add_row(table, "a run in the first 30 s of a fresh workdir", *fresh)
        for number in range(0, options.runs, CHAIN):
            kills = min(CHAIN, options.runs - number)
            ended = chain(Path(scratch) / f"run{number}", kills, longest / 2, expected, rng)
            wrong += add_row(table, "a run", *ended)
        wrong += add_row(table, "inside register", *registrations(undisturbed, options.acts, expected, rng))
        wrong += add_row(table, "inside promote", *promotions(undisturbed, options.acts, rng))

    Console(width=120).print(table)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
