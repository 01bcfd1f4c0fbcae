"""Fill in the day in paths such as `s3://crack/incoming/{yesterday}`."""

import datetime
import re
from pathlib import Path

from components.shared.services.store import Store

PATH_PART_WITH_A_DAY = r"[^/]*\{(?:date|yesterday)\}"


def fill_in_days(uri: str) -> str:
    """Replace {date} by today's date in UTC, such as 2026-01-31, and {yesterday} by the date one day earlier."""
    today = datetime.datetime.now(datetime.UTC).date()
    yesterday = today - datetime.timedelta(days=1)
    return uri.replace("{date}", str(today)).replace("{yesterday}", str(yesterday))


def has_other_days(uri: str) -> bool:
    """Return true if `uri` contains {date} or {yesterday}, and the folder before this part is not empty.

    In `s3://crack/incoming/{yesterday}`, the folder before this part is `s3://crack/incoming/`. If this folder is not
    empty, the path is correct. Then a missing folder for one day means that this day has no images.
    """
    parts = re.split(PATH_PART_WITH_A_DAY, uri, maxsplit=1)
    if len(parts) == 1:
        return False
    folder_of_days = parts[0]
    if folder_of_days.startswith("s3://"):
        return Store(folder_of_days).holds()
    folder = Path(folder_of_days).expanduser()
    return folder.is_dir() and any(folder.iterdir())
