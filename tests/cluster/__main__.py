"""Try everything on the cluster of the current KUBECONFIG, and print one table. `make test-cluster` calls this."""

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from components.container_images import check_images
from components.shared.errors import InputError
from tests.cluster import installation, runs, trouble
from tests.cluster.proof import FailedError, Proof

MINUTES = 40
KFP_NAMESPACE = "kubeflow"
MARKS = {"shown": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[yellow]-[/]"}


@dataclass(frozen=True)
class Act:
    """One thing that the proof shows.

    Attributes:
        name: What is shown.
        play: Shows it; returns what was seen, or raises.
        needs: Names of acts without which this one cannot be played.
    """

    name: str
    play: Callable[[Proof], str]
    needs: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """What was seen in an act: shown, failed or skipped, with the seconds that it took."""

    name: str
    state: str
    text: str
    seconds: float


INSTALL = "install"
REGISTER = "a run registers a version"
PROMOTE = "promotion"
REMOVE = "everything is removed"
ACTS = (
    Act(INSTALL, installation.install),
    Act("doctor", installation.doctor, [INSTALL]),
    Act("network policies", installation.network_policies, [INSTALL]),
    Act(REGISTER, runs.register, [INSTALL]),
    Act(PROMOTE, runs.promote, [REGISTER]),
    Act("a refused run", runs.refuse, [REGISTER]),
    Act("a failed run", runs.fail, [INSTALL]),
    Act("a drift check", runs.drift_check, [PROMOTE]),
    Act("a recurring run", runs.recurring_run, [PROMOTE]),
    Act("a stopped run", runs.stop, [INSTALL]),
    Act("no such container image", trouble.no_container_image, [INSTALL]),
    Act("no node for a pod", trouble.no_node, [REGISTER]),
    Act("trainings interrupted", trouble.interrupt, [REGISTER]),
)


def play(acts: Sequence[Act], proof: Proof, minutes: float, say: Callable[[str], None]) -> list[Result]:
    """Play the acts in their order. An act is skipped if one of its needs did not succeed, or if the time is up.

    Args:
        acts: What to show.
        proof: The cluster.
        minutes: The time for all acts together. An act that has begun is not interrupted.
        say: Prints what happens.
    """
    results: list[Result] = []
    shown: set[str] = set()
    deadline = time.monotonic() + 60 * minutes
    for act in acts:
        missing = [name for name in act.needs if name not in shown]
        if missing or time.monotonic() > deadline:
            reason = f"needs: {', '.join(missing)}" if missing else f"no time left of {minutes:g} minutes"
            results.append(Result(act.name, "skipped", reason, 0.0))
            continue

        say(f"{act.name} …")
        result = _played(act, proof)
        if result.state == "shown":
            shown.add(act.name)
        say(f"  {result.state}: {result.text}")
        results.append(result)
    return results


def _played(act: Act, proof: Proof) -> Result:
    started = time.monotonic()
    try:
        state, text = "shown", act.play(proof)
    except FailedError as error:
        state, text = "failed", str(error)
    except Exception as error:  # an unexpected error in one act must not hide the others, nor stop the removal
        state, text = "failed", f"{type(error).__name__}: {error}"
    return Result(act.name, state, text, time.monotonic() - started)


def table(results: Sequence[Result], title: str) -> Table:
    """Return the table of what was seen."""
    shown = Table(title=title, title_justify="left")
    for column in ("", "what", "seconds", "seen"):
        shown.add_column(column, overflow="fold", justify="right" if column == "seconds" else "left")
    for result in results:
        shown.add_row(MARKS[result.state], result.name, f"{result.seconds:.0f}", result.text)
    return shown


def main() -> int:
    """Say what will be made, play every act, remove everything, and return 0 if everything was shown."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--single-user", action="store_true", help="KFP runs in single-user mode")
    arguments.add_argument("--in-kubeflow", action="store_true", help="allow objects in KFP's own namespace")
    arguments.add_argument("--keep", action="store_true", help="do not remove anything at the end")
    arguments.add_argument("--minutes", type=float, default=MINUTES, help="time for all acts")
    chosen = arguments.parse_args()

    console = Console(highlight=False, soft_wrap=True)
    namespace = KFP_NAMESPACE if chosen.single_user else f"crack-proof-{secrets.token_hex(3)}"
    _say_first(console, namespace)
    if chosen.single_user and not chosen.in_kubeflow:
        console.print("error: KFP in single-user mode has no other namespace; IN_KUBEFLOW=1 allows it")
        return 2
    try:
        check_images(allow_tags=True)
    except InputError as error:
        console.print(f"error: {error}", markup=False)
        return 2

    with tempfile.TemporaryDirectory() as folder:
        proof = Proof(namespace, chosen.single_user, Path(folder))
        try:
            results = play(ACTS, proof, chosen.minutes, lambda text: console.print(text, markup=False))
        finally:
            removal = [] if chosen.keep else play([Act(REMOVE, installation.remove)], proof, 10, console.print)
    results += removal
    console.print(table(results, f"{_cluster()}, {'single-user' if chosen.single_user else 'multi-user'} mode"))
    return 0 if all(result.state == "shown" for result in results) else 1


def _say_first(console: Console, namespace: str) -> None:
    context = subprocess.run(["kubectl", "config", "current-context"], capture_output=True, text=True).stdout.strip()
    if namespace == KFP_NAMESPACE:
        place = f"namespace {namespace}, which belongs to KFP; it touches only the objects of overlays/kind-single-user"
    else:
        place = f"namespace {namespace}, which it makes and deletes; it touches nothing else"
    console.print(f"This proof works on the cluster of context {context!r}, in {place}.", markup=False)


def _cluster() -> str:
    answer = subprocess.run(["kubectl", "version", "--output=json"], capture_output=True, text=True).stdout
    return f"Kubernetes {json.loads(answer or '{}').get('serverVersion', {}).get('gitVersion', 'unknown')}"


if __name__ == "__main__":
    sys.exit(main())
