"""Make the record of refuse, and store the records of register and refuse."""

import json
from pathlib import Path

from components.shared.events import log
from components.shared.services.store import Store


def record_refusal(choice_path: str) -> dict:
    """Return the record of a run that registers nothing, with the reasons for every candidate.

    Args:
        choice_path: Path of choice.json, which the select step wrote.
    """
    choice = json.loads(Path(choice_path).read_text())
    log.info("nothing registered: %s", choice["reasoning"])
    return {"registered": False, "reasons": [choice["reasoning"]]}


def keep_record(record: dict, store: str, job: str) -> str:
    """Store a record as `runs/<job>/registration.json` in the store, where notify and `submit --wait` read it.

    Args:
        record: The record of the step register or refuse.
        store: The storage root.
        job: The pipeline job's id.

    Returns:
        The record as JSON.
    """
    text = json.dumps(record)
    Store(store).put_bytes(f"runs/{job}/registration.json", text.encode())
    return text
