"""The record of a run that registers nothing."""

import json
from pathlib import Path

from components.shared.events import log


def record_refusal(choice_path: str) -> dict:
    """Return the record of a run that registers nothing, with the reasons for every candidate.

    Args:
        choice_path: The choice that select wrote, JSON.
    """
    choice = json.loads(Path(choice_path).read_text())
    log.info("nothing registered: %s", choice["reasoning"])
    return {"registered": False, "reasons": [choice["reasoning"]]}
