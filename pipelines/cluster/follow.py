"""Follow a run in KFP to its end, and report what it did.

KFP may show the steps of a large run as they were at an earlier time: Argo compresses the status of a workflow beyond
1 MiB, and KFP does not read compressed ones. A step that is shown as ended has ended. A step that is shown as running
may have ended long ago. The result of a run is therefore read from its final state and from the records in the store.
"""

import datetime
import re
import time
from enum import IntEnum
from typing import Any

from rich.console import Console

from components.notify.ended_run import EndedRun, Ending, inspect_run
from components.shared.services.kfp_api import KfpApi, KfpError
from pipelines.graphs.compile import CompiledPipeline

INTERVAL = 15.0  # seconds between two requests
QUIET = 300.0  # seconds after which an unchanged state is printed again; some CI systems end jobs that print nothing
END_STATES = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
SHOWN_STATES = ("RUNNING", "SUCCEEDED", "FAILED", "CANCELED")  # of a step
STEP_GROUPS = ("exit-handler-", "condition-")  # tasks that only hold other tasks; people do not know them
LOG_LINES = 15
LONG_AGO = datetime.datetime.fromtimestamp(0, datetime.UTC)


class Outcome(IntEnum):
    """How a run ended, as the command's exit status."""

    SUCCEEDED = 0
    FAILED = 1
    UNSEEN = 3


class Follower:
    """Asks KFP about one run again and again, and prints what has changed."""

    def __init__(
        self, api: KfpApi, compiled: CompiledPipeline, run_id: str, console: Console, interval: float = INTERVAL
    ) -> None:
        self._api = api
        self._config = compiled.config
        self._steps = {key: _plain(name) for key, name in compiled.tasks.items() if not key.startswith(STEP_GROUPS)}
        self._run_id = run_id
        self._console = console
        self._interval = interval
        self._started = time.monotonic()
        self._printed = self._started
        self._changed = self._started
        self._states: dict[str, str] = {}  # of every task that was shown, by its name in KFP

    def wait(self, timeout: float, allow_refusal: bool = False) -> Outcome:
        """Wait for the end of the run.

        Args:
            timeout: Seconds until we stop waiting. The run goes on.
            allow_refusal: Count a run in which no candidate passed the gate as a success.
        """
        while time.monotonic() - self._started < timeout:
            try:
                run = self._api.run(self._run_id)
            except KfpError as error:
                if not error.transient:
                    self._say(f"{error}. The run goes on, but we cannot see it: {self._link()}")
                    return Outcome.UNSEEN
                self._say(f"{error}; still waiting")
            else:
                self._show_changes(run)
                if run.state in END_STATES:
                    return self._report(run, allow_refusal)
            time.sleep(self._interval)

        self._say(f"no end within {timeout:g} s; the run goes on: {self._link()}")
        return Outcome.UNSEEN

    def _show_changes(self, run: Any) -> None:
        """Print every step whose state has changed, in the order of time."""
        for task in sorted(_details(run), key=_time_of_state):
            key = task.display_name
            if key in self._steps and task.state in SHOWN_STATES and self._states.get(key) != task.state:
                self._states[key] = task.state
                self._changed = time.monotonic()
                self._say(f"{self._steps[key]}: {task.state.lower()}")

        if time.monotonic() - self._printed > QUIET:
            running = self._in_state(run, "RUNNING")
            steps = ", ".join(running) or "no step is shown as running"
            unchanged = _clock(time.monotonic() - self._changed)
            self._say(f"still {run.state.lower()}: {steps} (KFP has shown no change for {unchanged})")

    def _report(self, run: Any, allow_refusal: bool) -> Outcome:
        """Print how the run ended and return the outcome."""
        state = "CANCELED" if _was_stopped(run) else run.state
        ended = inspect_run(state, self._run_id, self._config.store)
        if self._in_state(run, "RUNNING"):
            self._say(
                "KFP shows the steps as they were at an earlier time, because the run's status is larger than 1 MiB; "
                "the result is read from the store"
            )

        if ended.ending == Ending.STOPPED:
            self._say(f"stopped: {self._link()}")
            return Outcome.FAILED
        if ended.ending == Ending.FAILED:
            self._show_failures(run, ended)
            reason = f", {run.error.message}" if run.error and run.error.message else ""
            self._say(f"failed{reason}: {self._link()}")
            return Outcome.FAILED
        return self._report_registration(run, ended, allow_refusal)

    def _report_registration(self, run: Any, ended: EndedRun, allow_refusal: bool) -> Outcome:
        """Report what a run without an error did: register a version, or refuse every candidate."""
        if "refuse" not in self._steps:
            self._say(f"succeeded: {self._link()}")
            return Outcome.SUCCEEDED

        done = self._in_state(run, "SUCCEEDED")
        record = ended.registration
        if record.get("registered"):
            version = f"{record['name']} version {record['version']} as {record['alias']}"
            self._say(f"succeeded, registered {version}: {self._link()}")
            return Outcome.SUCCEEDED
        if not record and "register" in done:
            self._say(f"succeeded: {self._link()}")
            return Outcome.SUCCEEDED
        if record or "refuse" in done:
            reasons = " ".join(record.get("reasons", []))
            self._say(f"refused: no candidate passed the gate, nothing was registered. {reasons} {self._link()}")
            return Outcome.SUCCEEDED if allow_refusal else Outcome.FAILED

        if ended.unreadable:
            self._say(
                f"ended without an error, but KFP does not show whether a version was registered, and the record in "
                f"{self._config.store} could not be read ({ended.unreadable}): {self._link()}"
            )
            return Outcome.UNSEEN
        self._say(
            "ended without an error, but neither register nor refuse has left a record in "
            f"{self._config.store}; look at {self._link()}"
        )
        return Outcome.FAILED

    def _in_state(self, run: Any, state: str) -> dict[str, Any]:
        """Return the details of the steps that KFP shows in a state, by the names that people know."""
        found = {}
        for task in _details(run):
            if task.display_name in self._steps and task.state == state:
                found[self._steps[task.display_name]] = task
        return found

    def _show_failures(self, run: Any, ended: EndedRun) -> None:
        """Print the cause of every failed step, the end of its log, and how to see the rest."""
        causes = {cause["step"]: cause["message"] for cause in ended.causes}
        failed = self._in_state(run, "FAILED")
        for step in dict.fromkeys([*failed, *causes]):
            task = failed.get(step)
            message = task.error.message if task and task.error else ""
            self._say(f"{step} failed: {causes.get(step) or message or 'it left no cause'}")
            if task:
                self._show_log(run, task)

        if not failed and not causes:
            hint = f"; {ended.unreadable}" if ended.unreadable else ""
            self._say(f"neither KFP nor the store says which step failed{hint}")

    def _show_log(self, run: Any, task: Any) -> None:
        """Print the end of a failed task's log."""
        node = _failed_node(_details(run), task)
        if not node:
            return
        try:
            lines = self._api.log(self._run_id, node).strip().splitlines()
        except KfpError as error:
            self._say(f"its log could not be read: {error}")
            return
        for line in lines[-LOG_LINES:]:
            self._say(f"  {line}")
        namespace = self._api.namespace or "kubeflow"
        self._say(f"the whole log: kubectl -n {namespace} logs {node} -c main, or {self._link()}")

    def _say(self, text: str) -> None:
        self._printed = time.monotonic()
        clock = _clock(self._printed - self._started)
        self._console.print(f"{clock}  {text}", highlight=False, markup=False, soft_wrap=True)

    def _link(self) -> str:
        return self._api.link(f"runs/details/{self._run_id}")


def _plain(name: str) -> str:
    """Return the name of a step outside the candidates' branches without the number that KFP adds: register-2."""
    return name if " " in name else re.sub(r"-\d+$", "", name)


def _details(run: Any) -> list[Any]:
    return (run.run_details and run.run_details.task_details) or []


def _time_of_state(task: Any) -> tuple[datetime.datetime, bool]:
    """Return when a task came into its state. At the same time, a task ends before another starts."""
    running = task.state == "RUNNING"
    since = task.start_time if running else task.end_time
    return since or LONG_AGO, running


def _was_stopped(run: Any) -> bool:
    """Return whether a person stopped the run. KFP calls such a run FAILED in the end; only its history shows it."""
    return run.state == "CANCELED" or any(status.state == "CANCELING" for status in run.state_history or [])


def _failed_node(details: list[Any], task: Any) -> str:
    """Return the name of the pod in which a task failed; a task holds the node of its driver and of its program."""
    failed = {detail.pod_name: detail for detail in details if detail.state == "FAILED"}
    while True:
        children = [child.pod_name for child in task.child_tasks or [] if child.pod_name in failed]
        if not children:
            return task.pod_name or ""
        task = failed[children[-1]]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
