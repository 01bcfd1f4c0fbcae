"""Follow a run in KFP to its end, and tell a refusal by the gates from a success."""

import time
from enum import IntEnum
from typing import Any

from rich.console import Console

from components.shared.services.kfp_api import KfpApi, KfpError
from pipelines.graphs.compile import CompiledPipeline

INTERVAL = 15.0  # seconds between two looks
QUIET = 300.0  # seconds after which an unchanged state is said again: some CI systems end jobs that say nothing
FAILED_STATES = ("FAILED", "CANCELED", "SKIPPED")
TOLD = ("RUNNING", "SUCCEEDED", "FAILED", "CANCELED")  # a task's states that are worth a line


class Outcome(IntEnum):
    """How a run ended, as the command's exit status."""

    SUCCEEDED = 0
    FAILED = 1
    UNSEEN = 3


class Follower:
    """Looks at one run again and again, and says what has changed."""

    def __init__(
        self, api: KfpApi, compiled: CompiledPipeline, run_id: str, console: Console, interval: float = INTERVAL
    ) -> None:
        self._api = api
        self._compiled = compiled
        self._run_id = run_id
        self._console = console
        self._interval = interval
        self._started = time.monotonic()
        self._said = self._started
        self._tasks: dict[str, str] = {}

    def wait(self, timeout: float, allow_refusal: bool = False) -> Outcome:
        """Wait for the run's end.

        Args:
            timeout: Seconds until we stop waiting; the run goes on.
            allow_refusal: Count a run that registered nothing, since no candidate passed the gates, as a success.
        """
        while time.monotonic() - self._started < timeout:
            try:
                run = self._api.run(self._run_id)
            except KfpError as error:
                if not error.transient:
                    self._say(f"{error}. The run goes on, unseen: {self._link()}")
                    return Outcome.UNSEEN
                self._say(f"{error}; still waiting")
            else:
                self._tell(run)
                if run.state == "SUCCEEDED":
                    return self._succeeded(run, allow_refusal)
                if run.state in FAILED_STATES:
                    return self._failed(run)
            time.sleep(self._interval)
        self._say(f"no end within {timeout:g} s; the run goes on: {self._link()}")
        return Outcome.UNSEEN

    def _tell(self, run: Any) -> None:
        for task in _details(run):
            name = self._compiled.tasks.get(task.display_name)
            if name and task.state in TOLD and self._tasks.get(name) != task.state:
                self._tasks[name] = task.state
                self._say(f"{name}: {task.state.lower()}")
        if time.monotonic() - self._said > QUIET:
            running = [name for name, state in self._tasks.items() if state == "RUNNING"]
            self._say(f"still {run.state.lower()}: {', '.join(running) or 'no task has begun'}")

    def _succeeded(self, run: Any, allow_refusal: bool) -> Outcome:
        # one of the steps register (one per candidate) and refuse runs; KFP's API tells which, but not what they answer
        done = {task.display_name.rstrip("-0123456789") for task in _details(run) if task.state == "SUCCEEDED"}
        if "refuse" not in self._compiled.tasks or "register" in done:
            self._say(f"succeeded: {self._link()}")
            return Outcome.SUCCEEDED
        if "refuse" in done:
            self._say(f"refused: no candidate passed the gates, nothing was registered; reasons: {self._link()}")
            return Outcome.SUCCEEDED if allow_refusal else Outcome.FAILED
        self._say(f"ended without an error, but neither register nor refuse has run; look at {self._link()}")
        return Outcome.FAILED

    def _failed(self, run: Any) -> Outcome:
        for task in _details(run):
            name = self._compiled.tasks.get(task.display_name)
            if name and task.state == "FAILED":
                self._say(f"{name} failed: {task.error.message if task.error else 'its log says why'}")
        reason = f", {run.error.message}" if run.error else ""
        self._say(f"{run.state.lower()}{reason}: {self._link()}")
        return Outcome.FAILED

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        minutes, seconds = divmod(int(self._said - self._started), 60)
        clock = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
        self._console.print(f"{clock}  {text}", highlight=False, markup=False, soft_wrap=True)

    def _link(self) -> str:
        return self._api.link(f"runs/details/{self._run_id}")


def _details(run: Any) -> list[Any]:
    return (run.run_details and run.run_details.task_details) or []
