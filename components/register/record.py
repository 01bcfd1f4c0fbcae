"""Make the record of a refusal, and store the record of a refusal or of a registration."""

import json
from pathlib import Path

from components.shared.events import log
from components.shared.services.records import write_record
from components.shared.services.store import Store


def record_refusal(choice_path: str) -> dict:
    """Return the record of a run that registers nothing, with the reasons.

    Args:
        choice_path: Path of choice.json, which the select step wrote.
    """
    choice = json.loads(Path(choice_path).read_text())
    log.info("nothing registered: %s", choice["reasoning"])
    return {"registered": False, "reasons": [choice["reasoning"]]}


def keep_record(record: dict, store: str, job: str) -> str:
    """Store a record as `runs/<job>/registration.json` in the store, where the notify step and `submit --wait` read it.

    Args:
        record: The record of the register step or of the refuse step.
        store: The storage root.
        job: The pipeline job's id.

    Returns:
        The record as JSON.
    """
    write_record(Store(store), f"runs/{job}/registration.json", record)
    return json.dumps(record)
