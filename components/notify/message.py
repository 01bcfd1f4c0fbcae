"""How a run ended, in a few lines, from what its steps left in the store."""

import json

from components.notify.config import NotifyConfig
from components.shared.events import log
from components.shared.services.store import MissingObjectError, Store

ERROR_LENGTH = 600  # characters of a cause; a webhook refuses long texts


def compose(state: str, job: str, config: NotifyConfig) -> str:
    """Say how the run ended: its state, the failing step with its cause, the choice of the winner, the link.

    Args:
        state: KFP's final state, such as SUCCEEDED, FAILED or CANCELLED.
        job: The pipeline job's id.
        config: The storage root and the link.
    """
    succeeded = state == "SUCCEEDED"
    lines = [f"{'✅' if succeeded else '❌'} {config.experiment}, job {job}: {state.lower() or 'ended, state unknown'}"]
    try:
        store = Store(config.store)
        # After a success, a cause is left over from an attempt that was repeated.
        lines += _verdict(store, job) if succeeded else _causes(store, job)
    except Exception as error:  # the message must go out whatever state the store is in
        lines.append(f"What the steps left in the store could not be read: {error}")
    if config.link:
        lines.append(config.link.replace("{job}", job))
    return "\n".join(lines)


def _causes(store: Store, job: str) -> list[str]:
    causes = [json.loads(store.get_bytes(key)) for key, _ in store.list(f"runs/{job}/errors/")]
    log.info("%d steps left a cause", len(causes))
    if not causes:
        return ["No step left a cause; it was cancelled, or ended from outside: out of memory, evicted, timed out."]
    return [f"Step {cause['step']}: {_kind(cause)}{_shortened(cause['message'])}" for cause in causes]


def _verdict(store: Store, job: str) -> list[str]:
    drift, training, choice = (_left(store, f"runs/{job}/{name}.json") for name in ("drift", "training", "choice"))
    if drift:
        said = f"Drift check of {drift['images']}: {drift['verdict']}. {drift['reason']}."
        return [said, *([training["said"]] if training else [])]
    if not choice:
        return []
    winner = f"Winner: {choice['winner']}." if choice["winner"] else "Nothing was registered."
    return [f"{winner} {choice['reasoning']}"]


def _left(store: Store, key: str) -> dict:
    try:
        return json.loads(store.get_bytes(key))
    except MissingObjectError:
        return {}


def _kind(cause: dict[str, str]) -> str:
    return "" if cause["kind"] == "input" else f"{cause['type']}: "


def _shortened(text: str) -> str:
    return text if len(text) <= ERROR_LENGTH else text[: ERROR_LENGTH - 1] + "…"
