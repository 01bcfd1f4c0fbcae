"""Does a run that is killed at any moment end as if nothing had happened? A table, and exit status 1 if one does not.

Runs of one small pipeline, and registrations and promotions of its model, are ended by SIGKILL, SIGTERM or Ctrl-C at
random moments and started again. In the end, each workdir must have the data set, splits and weights of a run that
nobody disturbed, and a registry with one version that is whole.

    make chaos, or: python tests/chaos/chaos_kills.py [--kills 50] [--fresh 20] [--acts 10]
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
from collections.abc import Mapping
from pathlib import Path

from mlflow.tracking import MlflowClient
from rich.console import Console
from rich.table import Table

from components.shared.hashing import file_digest
from components.shared.services import mlflow_failures
from components.shared.services.mlflow_runs import CHALLENGER, CHAMPION, CHECKED
from components.shared.services.version_files import version_folder
from pipelines.local.embedded_stack import embedded_stack, tracking_uri
from pipelines.registry.promotions import Registry

MODEL = "crack-classifier"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CHAIN = 5  # so many kills, and then the run may end
FIRST_SECONDS = 30.0
SETTINGS = (
    "candidates.cnn.train.architecture=resnet10t", "candidates.cnn.train.input_size=64",
    "candidates.cnn.train.steps=24", "candidates.vit.train.input_size=64", "candidates.vit.train.steps=24",
    "explain.measured=8", "explain.shown=4",
    "drift.evidently=false", "evaluate.resamples=200", "predict.corruptions.max_images=10",
    "gate.limits=[{name: accuracy, split: test, limit: 0.01}]",
)  # fmt: skip
PROGRAM = str(Path(sys.executable).with_name("crack-pipeline"))


def command(workdir: Path) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    data = ["--data", "synthetic://?images=240&seed=4&size=64"]
    return [PROGRAM, "run-local", "--workdir", str(workdir), *data, *settings]


def start(arguments: list[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen:
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def killed(arguments: list[str], seconds: float, kind: int, environment: Mapping[str, str] | None = None) -> bool:
    """Start a command and end it after so many seconds; false if it ended before."""
    process = start(arguments, environment)
    try:
        process.communicate(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(kind)
        process.communicate()
        return True


def finished(arguments: list[str], outcome: Counter, environment: Mapping[str, str] | None = None) -> None:
    process = start(arguments, environment)
    output, _ = process.communicate()
    if process.returncode:
        outcome["commands that failed after a kill"] += 1
        print(output[-3000:], file=sys.stderr)


def result(workdir: Path) -> dict[str, str]:
    """What a run made: the digests of the data set, of the splits and of the weights."""
    summary = json.loads((workdir / "summary.json").read_text())
    artifacts = next((workdir / "summary.json").resolve().parent.glob("artifacts/*"))
    weights = {path.parts[-3]: file_digest(path) for path in sorted(artifacts.glob("train*/model/model.safetensors"))}
    return {"data": summary["dataset_digest"], "splits": file_digest(artifacts / "split" / "splits"), **weights}


def check(workdir: Path, expected: dict[str, str], outcome: Counter) -> None:
    """Count what is not as after a run that nobody disturbed."""
    outcome["results that differ"] += result(workdir) != expected
    client = MlflowClient(tracking_uri(workdir))
    versions = client.search_model_versions(f"name = '{MODEL}'")
    outcome["registries without exactly one version"] += len(versions) != 1
    outcome["versions that did not pass the check"] += any(each.tags.get(CHECKED) != "passed" for each in versions)
    outcome["registries without a challenger"] += CHALLENGER not in client.get_registered_model(MODEL).aliases
    with embedded_stack(workdir) as environment, mlflow_failures.environment(environment):
        try:
            with version_folder(MODEL, str(versions[0].version)):
                pass
        except Exception as error:
            outcome["versions that are not whole"] += 1
            print(error, file=sys.stderr)


def chain(workdir: Path, fresh: bool, kills: int, expected: dict[str, str], rng: random.Random) -> tuple[int, Counter]:
    """Kill a run in a workdir so many times, let it end, and check. Return the number of kills that hit a run."""
    outcome: Counter = Counter()
    hits = 0
    for _ in range(kills):
        if fresh:
            shutil.rmtree(workdir, ignore_errors=True)
        seconds = rng.uniform(0.5, FIRST_SECONDS if fresh else 2 * FIRST_SECONDS)
        hits += killed(command(workdir), seconds, rng.choice(SIGNALS))
        if fresh:
            # What was left must not disturb the next run: it gets to the same place.
            hits += killed(command(workdir), FIRST_SECONDS, signal.SIGKILL)
    finished(command(workdir), outcome)
    check(workdir, expected, outcome)
    return hits, outcome


def promotions(workdir: Path, count: int, longest: float, rng: random.Random) -> tuple[int, Counter]:
    """Kill promotions at random moments. The next command must find a history and an alias that agree."""
    outcome: Counter = Counter()
    hits = 0
    registry = Registry(MlflowClient(tracking_uri(workdir)), MODEL)
    promote = [PROGRAM, "promote", "1", "--by", "Ada", "--why", "chaos", "--workdir", str(workdir)]
    for _ in range(count):
        if registry.alias(CHAMPION):
            registry.client.delete_registered_model_alias(MODEL, CHAMPION)
        entries = len(registry.history())
        hits += killed(promote, rng.uniform(0.2, longest), rng.choice(SIGNALS))
        finished(promote, outcome)
        new = registry.history()[entries:]
        outcome["promotions that the history lost"] += not new
        outcome["aliases that do not follow the history"] += registry.alias(CHAMPION) != "1"
    return hits, outcome


def registrations(workdir: Path, count: int, expected: dict[str, str], rng: random.Random) -> tuple[int, Counter]:
    """Kill runs of which only the registration is left to do, at random moments of it."""
    outcome: Counter = Counter()
    hits = 0
    for _ in range(count):
        client = MlflowClient(tracking_uri(workdir))
        if client.search_registered_models(f"name = '{MODEL}'"):
            client.delete_registered_model(MODEL)
        process = start(command(workdir))
        while process.poll() is None and not _registering(workdir):
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 8))
        hits += process.poll() is None
        process.send_signal(rng.choice(SIGNALS))
        process.communicate()
        finished(command(workdir), outcome)
        check(workdir, expected, outcome)
    return hits, outcome


def _registering(workdir: Path) -> bool:
    newest = max((workdir / "runs").glob("*"), default=None)
    events = newest / "events.jsonl" if newest else None
    return bool(events and events.exists() and '"step": "register"' in events.read_text())


def main() -> int:
    """Kill, start again, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="kills of runs, of which --fresh in a fresh workdir")
    parser.add_argument("--fresh", type=int, default=20)
    parser.add_argument("--acts", type=int, default=10, help="kills inside register, and as many inside promote")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    os.environ.pop("MLFLOW_TRACKING_URI", None)

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        undisturbed = Path(scratch) / "undisturbed"
        failures: Counter = Counter()
        finished(command(undisturbed), failures)
        if failures:
            return 1
        expected = result(undisturbed)

        fresh = chain(Path(scratch) / "fresh", True, options.fresh, expected, rng)
        rows.append(("a run in the first 30 s of a fresh workdir", *fresh))
        left = options.kills - options.fresh
        for number in range(0, left, CHAIN):
            kills = min(CHAIN, left - number)
            rows.append(("a run", *chain(Path(scratch) / f"run{number}", False, kills, expected, rng)))
        rows.append(("inside register", *registrations(undisturbed, options.acts, expected, rng)))
        rows.append(("inside promote", *promotions(undisturbed, options.acts, 12.0, rng)))

    table = Table(title="Killed at random moments, started again", title_justify="left")
    for title in ("killed", "kills", "what was wrong at the end"):
        table.add_column(title)
    wrong = 0
    for what, hits, outcome in rows:
        seen = {name: count for name, count in outcome.items() if count}
        wrong += len(seen)
        table.add_row(what, str(hits), ", ".join(f"{count} {name}" for name, count in seen.items()) or "nothing")
    Console(width=120).print(table)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
