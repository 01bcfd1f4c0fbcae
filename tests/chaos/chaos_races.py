"""Do simultaneous promotions and registrations lose anything? If so, the exit status is 1.

In some rounds, three people promote different versions on one MLflow server at the same moment. After such a round, the
history must have every promotion, and the alias must name the version of the last entry. In other rounds, two attempts
of one job register the same model. After such a round, the registry must have one more version, and this version must
be whole, checked, and the challenger. A table shows what was wrong.

    make chaos, or: python tests/chaos/chaos_races.py [--rounds 100]
"""

import argparse
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from mlflow.tracking import MlflowClient
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))  # for the package tests

from components.register.config import RegisterConfig
from components.register.run import register_winner
from components.register.version import Winner
from components.shared.results.calibration import Calibration, write_calibration
from components.shared.services.mlflow_runs import CHALLENGER, CHAMPION, CHECKED, VERDICT
from components.shared.services.store import Store
from components.shared.services.version_files import version_folder
from pipelines.local.embedded_stack import MLFLOW_ARTIFACTS, embedded_stack
from pipelines.registry.promotions import Registry
from tests.components.register.conftest import make_winner
from tests.conftest import mlflow_server

MODEL = "crack-classifier"
PEOPLE = 3
ATTEMPTS = 2


def at_once(act: Callable[[int], object]) -> None:
    """Let PEOPLE do `act(number)` at the same moment; raise what one of them raised."""
    together = threading.Barrier(PEOPLE)

    def wait_and_act(number: int) -> None:
        together.wait()
        act(number)

    with ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(wait_and_act, range(1, PEOPLE + 1)))


def promotions(rounds: int, uri: str, outcome: Counter) -> None:
    """Promote at once, round after round."""
    client, name = MlflowClient(uri), "promoted"
    client.create_registered_model(name)
    for number in range(PEOPLE):
        client.create_model_version(name, f"s3://crack/{number}", tags={VERDICT: "passed", CHECKED: "passed"})

    for _ in range(rounds):
        before = len(Registry(client, name).history())
        champion = Registry(client, name).alias(CHAMPION)
        at_once(lambda number: Registry(MlflowClient(uri), name).promote(str(number), f"person {number}", "at once"))

        registry = Registry(client, name)
        new = registry.history()[before:]
        # Who promotes the version that is champion at this moment changes nothing, and adds nothing to the history.
        expected = {str(number) for number in range(1, PEOPLE + 1)} - {champion}
        outcome["promotions that the history lost"] += len(expected - {entry.target for entry in new})
        outcome["rounds whose alias is not at the last entry"] += registry.alias(CHAMPION) != new[-1].target
        outcome["rounds that left something to settle"] += registry.settle()


def registrations(rounds: int, winner: Winner, config: RegisterConfig, outcome: Counter) -> None:
    """Register at once, round after round, each round another model."""
    client = MlflowClient()
    with ProcessPoolExecutor(ATTEMPTS, mp_context=get_context("spawn")) as attempts:
        for number in range(1, rounds + 1):
            threshold = number / (rounds + 1)
            write_calibration(Calibration(2.0, threshold, "a round"), Path(winner.dossier) / "calibration.json")
            running = [attempts.submit(register_winner, winner, config, job=f"job-{number}") for _ in range(ATTEMPTS)]
            records = [each.result() for each in running]

            versions = client.search_model_versions(f"name = '{MODEL}'")
            (version,) = {record["version"] for record in records}
            outcome["rounds without exactly one new version"] += len(versions) != number
            outcome["versions that did not pass the check"] += any(
                each.tags.get(CHECKED) != "passed" for each in versions
            )
            challenger = str(client.get_model_version_by_alias(MODEL, CHALLENGER).version)
            outcome["rounds whose challenger is not the newest"] += challenger != version
            with version_folder(MODEL, version) as folder:  # raises if a file is not the registered one
                outcome["versions without weights"] += not (folder / "artifacts/model/model.safetensors").exists()


def main() -> int:
    """Run all rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--registrations", type=int, help="rounds of registrations, if not as many")
    options = parser.parse_args()
    rounds = {"promotions": options.rounds, "registrations": options.registrations or options.rounds}

    promoting: Counter = Counter()
    registering: Counter = Counter()
    with tempfile.TemporaryDirectory() as scratch, embedded_stack(Path(scratch) / "stack") as environment:
        s3 = {name: value for name, value in environment.items() if name.startswith("AWS_")}
        os.environ |= s3
        folder = Path(scratch) / "work"
        folder.mkdir()
        with mlflow_server(folder, s3) as uri:
            os.environ["MLFLOW_TRACKING_URI"] = uri
            MlflowClient().create_experiment("crack-training", artifact_location=MLFLOW_ARTIFACTS)
            promotions(rounds["promotions"], uri, promoting)
            winner, config = make_winner(Store("s3://crack/store"), folder)
            registrations(rounds["registrations"], winner, config, registering)

    table = Table(title="At the same moment", title_justify="left")
    for title in ("what", "rounds", "seen", "times"):
        table.add_column(title)
    for what, outcome in (("promotions", promoting), ("registrations", registering)):
        for name, count in outcome.items():
            table.add_row(what, str(rounds[what]), name, str(count))
    Console(width=120).print(table)
    return int(any([*promoting.values(), *registering.values()]))


if __name__ == "__main__":
    sys.exit(main())
