"""Follow a run in KFP until its end, and report its result.

KFP may show old states of the steps (see run_details.py). So we read the result of a run from its final state and from
the records that the steps left in the store.
"""

import contextlib
import datetime
import math
import signal
import sys
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from rich.console import Console

from components.notify.ended_run import EndedRun, Ending, inspect_run
from components.shared.services.kfp_api import KfpApi, KfpError
from pipelines.cluster.kubernetes_view import KFP_NAMESPACE, ClusterView
from pipelines.cluster.run_details import step_names, steps_in_state, task_details, was_stopped
from pipelines.cluster.token_check import early_end
from pipelines.cluster.waiting_pods import WaitingPods
from pipelines.cluster.workflow_nodes import newest_pods, read_pods
from pipelines.graphs.compile import CompiledPipeline

INTERVAL = 15.0  # seconds between two requests
PATIENCE = 30.0  # seconds without a change after which we check whether a pod cannot start
# While Kubernetes restarts, KFP refuses every token. We accept refusals for this number of seconds.
REFUSED = 45.0
# After this number of seconds, an unchanged state is printed again. Some CI systems end jobs that print nothing.
QUIET = 300.0
END_STATES = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
SHOWN_STATES = ("RUNNING", "SUCCEEDED", "FAILED", "CANCELED")  # of a step
LOG_LINES = 15
LONG_AGO = datetime.datetime.fromtimestamp(0, datetime.UTC)


class Outcome(IntEnum):
    """The possible outcomes of a followed run. The value is the exit status of the command."""

    SUCCEEDED = 0
    FAILED = 1
    UNSEEN = 3


@contextlib.contextmanager
def stopping_with_us(api: KfpApi, run_id: str, console: Console, always: bool) -> Iterator[None]:
    """If this process receives Ctrl-C or SIGTERM inside the `with` block, stop the run, or ask whether to stop it.

    Args:
        api: The API of KFP.
        run_id: The id of the run.
        console: Shows whether the run was stopped.
        always: True: stop the run without asking. False: ask the person at the terminal. If there is no terminal, the
            run continues.
    """

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if always or (sys.stdin.isatty() and console.input("\nStop the run too? [y/N] ").lower().startswith("y")):
            api.stop_run(run_id)
            console.print("the run is being stopped", markup=False)
        else:
            link = api.link(f"runs/details/{run_id}")
            console.print(
                f"the run continues: {link}; `crack-pipeline runs stop` stops it", markup=False, soft_wrap=True
            )
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


class Follower:
    """A loop that asks KFP for the state of one run again and again, and prints each change."""

    def __init__(
        self, api: KfpApi, compiled: CompiledPipeline, run_id: str, console: Console, interval: float = INTERVAL
    ) -> None:
        self._api = api
        self._config = compiled.config
        self._steps = step_names(compiled)
        self._run_id = run_id
        self._console = console
        self._interval = interval
        self._started = time.monotonic()
        self._printed = self._started
        self._changed = self._started
        self._answered = -math.inf  # time of KFP's last answer
        self._waiting_pods: WaitingPods | None = None
        self._states: dict[str, str] = {}  # name of a task in KFP -> state that was shown last

    def wait(self, timeout: float, allow_refusal: bool = False) -> Outcome:
        """Wait for the end of the run and return the outcome.

        Args:
            timeout: Seconds until we stop waiting. The run then continues.
            allow_refusal: True: a run counts as a success even if no candidate passed the gate.
        """
        warning = early_end(self._api.endpoint, timeout)
        if warning:
            self._say(f"warning: {warning}")

        while time.monotonic() - self._started < timeout:
            try:
                run = self._api.run(self._run_id)
            except KfpError as error:
                if not error.transient and time.monotonic() - self._answered > REFUSED:
                    self._say(f"{error}. The run continues, but its state cannot be read: {self._link()}")
                    return Outcome.UNSEEN
                self._say(f"{error}; we try again")
            else:
                self._answered = time.monotonic()
                self._show_changes(run)
                if run.state in END_STATES:
                    return self._report(run, allow_refusal)
            time.sleep(self._interval)

        self._say(f"the run did not end within {timeout:g} s; it continues: {self._link()}")
        return Outcome.UNSEEN

    def _show_changes(self, run: Any) -> None:
        """Print each step whose state has changed, in the order of the changes.

        If nothing has changed for some time, print why pods do not start. If nothing has been printed for a longer
        time, print the state of the run again.
        """
        for task in sorted(task_details(run), key=_time_of_state):
            key = task.display_name
            if key in self._steps and task.state in SHOWN_STATES and self._states.get(key) != task.state:
                self._states[key] = task.state
                self._changed = time.monotonic()
                self._say(f"{self._steps[key]}: {task.state.lower()}")

        if run.state not in END_STATES and time.monotonic() - self._changed > PATIENCE:
            self._show_waiting_pods()
        if time.monotonic() - self._printed > QUIET:
            running = steps_in_state(run, self._steps, "RUNNING")
            steps = ", ".join(running) or "KFP shows no running step"
            unchanged = _clock(time.monotonic() - self._changed)
            self._say(f"still {run.state.lower()}: {steps} (KFP has shown no change for {unchanged})")

    def _show_waiting_pods(self) -> None:
        """Print the reasons why pods do not start."""
        if self._waiting_pods is None:
            view = ClusterView(self._api.namespace or KFP_NAMESPACE)
            self._waiting_pods = WaitingPods(view, self._run_id, self._steps)
        for line in self._waiting_pods.news():
            self._say(line)

    def _report(self, run: Any, allow_refusal: bool) -> Outcome:
        """Print how the run ended and return the outcome."""
        state = "CANCELED" if was_stopped(run) else run.state
        ended = inspect_run(state, self._run_id, self._config.store)
        running = steps_in_state(run, self._steps, "RUNNING")
        # KFP shows the end of notify, the last step, a moment later than the end of the run.
        if set(running) - {"notify"}:
            self._say(
                "KFP shows old states of the steps, because the run's status is larger than 1 MiB; "
                "the result is read from the store"
            )

        if ended.undelivered:
            self._say(f"warning: {ended.undelivered}")
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
        """Report the result of a run that ended without an error.

        If the pipeline trains, the run has registered a model version or refused all candidates.
        """
        if "refuse" not in self._steps.values():
            self._say(f"succeeded: {self._link()}")
            return Outcome.SUCCEEDED

        done = steps_in_state(run, self._steps, "SUCCEEDED")
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
            self._say(f"refused: no candidate passed the gate, so nothing was registered. {reasons} {self._link()}")
            return Outcome.SUCCEEDED if allow_refusal else Outcome.FAILED

        if ended.unreadable:
            self._say(
                f"ended without an error, but KFP does not show whether a version was registered, and the record in "
                f"{self._config.store} could not be read ({ended.unreadable}): {self._link()}"
            )
            return Outcome.UNSEEN
        self._say(
            "ended without an error, but neither the step register nor the step refuse has left a record in "
            f"{self._config.store}; look at {self._link()}"
        )
        return Outcome.FAILED

    def _show_failures(self, run: Any, ended: EndedRun) -> None:
        """Print the cause of every failed step, the end of its log, and how to read the whole log."""
        causes = {cause["step"]: cause["message"] for cause in ended.causes}
        failed = steps_in_state(run, self._steps, "FAILED")
        pods = self._newest_pods() if failed or causes else {}
        for step in dict.fromkeys([*failed, *causes]):
            task = failed.get(step)
            message = task.error.message if task and task.error else ""
            self._say(f"{step} failed: {causes.get(step) or message or 'the cause is unknown'}")

            keys = [task.display_name] if task else [key for key, name in self._steps.items() if name == step]
            for key in keys:
                if key in pods:
                    self._show_log(pods[key])

        if not failed and not causes:
            hint = f"; {ended.unreadable}" if ended.unreadable else ""
            self._say(f"neither KFP nor the store shows which step failed{hint}; look at {self._link()}")

    def _newest_pods(self) -> dict[str, str]:
        """Return a dict: KFP's name of a task -> its newest pod. Return {} if KFP does not show the pods."""
        try:
            return newest_pods(read_pods(self._api, self._run_id))
        except KfpError as error:
            self._say(f"the steps' logs are not shown: {error}")
            return {}

    def _show_log(self, pod: str) -> None:
        """Print the end of a pod's log."""
        try:
            lines = self._api.log(self._run_id, pod).strip().splitlines()
        except KfpError as error:
            self._say(f"the log of the failed step could not be read: {error}")
            return
        for line in lines[-LOG_LINES:]:
            self._say(f"  {line}")
        namespace = self._api.namespace or KFP_NAMESPACE
        self._say(f"the whole log: kubectl -n {namespace} logs {pod} -c main, or {self._link()}")

    def _say(self, text: str) -> None:
        self._printed = time.monotonic()
        clock = _clock(self._printed - self._started)
        self._console.print(f"{clock}  {text}", highlight=False, markup=False, soft_wrap=True)

    def _link(self) -> str:
        return self._api.link(f"runs/details/{self._run_id}")


def _time_of_state(task: Any) -> tuple[datetime.datetime, bool]:
    """Return the time when a task reached its state, as a key for sorting. At equal times, ended tasks come first."""
    running = task.state == "RUNNING"
    since = task.start_time if running else task.end_time
    return since or LONG_AGO, running


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
