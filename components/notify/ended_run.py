"""Find out how a run ended, from KFP's final state and from what its steps left in the store.

KFP's backend names the final state with a word of ML Metadata, such as COMPLETE. KFP's local runner says SUCCEEDED. If
a run was stopped or a pod was killed, the backend still says RUNNING, because no process has changed the state.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from components.shared.services.records import read_record
from components.shared.services.store import MissingObjectError, Store

# The words come from ML Metadata (Execution.State), KFP (RuntimeState, v2beta1) and Argo (phases).
SUCCESS_WORDS = frozenset({"SUCCEEDED", "COMPLETE", "CACHED"})
FAILURE_WORDS = frozenset({"FAILED", "ERROR"})
STOP_WORDS = frozenset({"CANCELED", "CANCELLED", "CANCELING", "CANCELLING", "SKIPPED", "TERMINATED", "TERMINATING"})
UNFINISHED_WORDS = frozenset({"NEW", "PENDING", "RUNNING", "PAUSED"})

PREEMPTED = "PreemptedError"  # the error of a training whose pod received SIGTERM

WAY_OUT_OF_DAMAGE = "look at the run's page in KFP"


class Ending(StrEnum):
    """The ways in which a run can end."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "ended, state unknown"


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended, and what its steps left in the store.

    Attributes:
        job: The pipeline job's id.
        state: KFP's final state, in KFP's own word.
        causes: The errors of the failed steps. Each error has the keys step, kind, type and message. If a failed step
            succeeds when it is repeated, its error does not count.
        choice: The content of choice.json, which the select step wrote. It is empty if there is none.
        registration: The record of the register step or of the refuse step. It is empty if there is none.
        drift: The result of a drift check. It is empty if there is none.
        training: The training that a drift check started. It is empty if there is none.
        undelivered: The reason why the message about the run was not delivered. It is empty if there is none.
        unreadable: The reason why the store could not be read. It is empty if the store could be read.
    """

    job: str
    state: str
    causes: tuple[dict[str, str], ...] = ()
    choice: dict[str, Any] = field(default_factory=dict)
    registration: dict[str, Any] = field(default_factory=dict)
    drift: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    undelivered: str = ""
    unreadable: str = ""

    @property
    def is_known(self) -> bool:
        """Return whether `state` is one of the final states that this module lists."""
        return self.state.upper() in SUCCESS_WORDS | FAILURE_WORDS | STOP_WORDS | UNFINISHED_WORDS

    @property
    def ending(self) -> Ending:
        """Return how the run ended."""
        word = self.state.upper()
        if word in FAILURE_WORDS:
            return Ending.FAILED
        if word in STOP_WORDS:
            return Ending.STOPPED
        if word in UNFINISHED_WORDS:
            # If a run is stopped, its training ends with PreemptedError. Any other error means that a step failed.
            failed = any(cause["type"] != PREEMPTED for cause in self.causes)
            return Ending.FAILED if failed else Ending.STOPPED

        if word not in SUCCESS_WORDS and self.causes:
            return Ending.FAILED
        if self.choice and not self.choice["winner"]:
            return Ending.REFUSED
        if word in SUCCESS_WORDS or self.registration or self.drift:
            return Ending.SUCCEEDED
        return Ending.UNKNOWN


def inspect_run(state: str, job: str, store_uri: str) -> EndedRun:
    """Read what the steps of a run left in the store. If the store cannot be read, `unreadable` contains the reason.

    Args:
        state: KFP's final state.
        job: The pipeline job's id.
        store_uri: The storage root.
    """
    try:
        store = Store(store_uri)
        causes = [_read(store, key) for key, _ in store.list(f"runs/{job}/errors/")]
        return EndedRun(
            job,
            state,
            causes=tuple(causes),
            choice=_record(store, job, "choice"),
            registration=_record(store, job, "registration"),
            drift=_record(store, job, "drift"),
            training=_record(store, job, "training"),
            undelivered=_record(store, job, "notification").get("undelivered", ""),
        )
    except Exception as error:  # the message must be sent even if the store cannot be read
        return EndedRun(job, state, unreadable=str(error))


def _record(store: Store, job: str, name: str) -> dict[str, Any]:
    try:
        return _read(store, f"runs/{job}/{name}.json")
    except MissingObjectError:
        return {}


def _read(store: Store, key: str) -> dict[str, Any]:
    return read_record(store, key, dict[str, Any], WAY_OUT_OF_DAMAGE)
