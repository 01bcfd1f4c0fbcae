"""The split that every group was ever put in, so that no group moves: one ledger for all versions of a store.

The objects under `splits/KEY/` are the pages of the ledger; KEY is a digest of the parameters and the seed. Each split
of a data set version adds one page, with the groups that no settled page has. Group ids never change, so the ledger
knows a group again in every version, whatever sources that version comes from. Concurrent splits see each other because
S3 listings are strongly consistent. If the pages are deleted, the next split starts from nothing.
"""

import datetime
import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO

import pandas as pd

from components.shared.services.s3_client import THREADS
from components.shared.services.store import MissingObjectError, Store

# A page is taken back at once or never. An older page can be trusted.
SETTLED_AGE = datetime.timedelta(hours=1)
Assignment = dict[str, str]  # split by group_id


class Ledger:
    """The groups that were split with the same parameters and seed."""

    def __init__(self, store: Store, key: str):
        """Open a ledger; nothing is read yet. `key` is a digest of the parameters and the seed."""
        self._store = store
        self._folder = f"splits/{key}"
        self._pages: dict[str, Assignment] = {}  # read so far; a page never changes

    def read(self) -> Assignment:
        """All groups that were ever put into a split."""
        return _merged(self._read_pages())

    def add(self, assignment: Assignment) -> bool:
        """Keep the splits of a version's groups.

        Returns:
            False if another split put one of these groups elsewhere in the meantime. Then nothing is kept; read the
            ledger and choose again. Of two concurrent splits that contradict each other, the one that writes last sees
            the other page and gives way; both may.
        """
        settled = _merged(self._read_pages(until=datetime.datetime.now(datetime.UTC) - SETTLED_AGE))
        page = {group: split for group, split in assignment.items() if group not in settled}
        if not page:
            return True

        name = f"{self._folder}/{uuid.uuid4()}.parquet"
        self._write_page(name, page)

        # Compare with each page, not with all merged: of two that contradict each other, one will be taken back.
        for other in self._read_pages():
            if _contradict(page, other):
                self._store.delete([name])
                # If both gave way, a random pause lets one of them come back first.
                time.sleep(random.random())
                return False
        return True

    def _write_page(self, name: str, page: Assignment) -> None:
        table = pd.DataFrame({"group_id": list(page), "split": list(page.values())})
        buffer = BytesIO()
        table.to_parquet(buffer, index=False)
        self._store.put_bytes(name, buffer.getvalue())

    def _read_pages(self, until: datetime.datetime | None = None) -> list[Assignment]:
        """All pages, or those that were written before a time."""
        keys = []
        for one in self._store.objects(f"{self._folder}/"):
            if until is None or one.changed < until:
                keys.append(one.key)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._fetch, set(keys) - set(self._pages)))
        return [self._pages[key] for key in keys if key in self._pages]

    def _fetch(self, key: str) -> None:
        with suppress(MissingObjectError):  # taken back in the meantime
            page = pd.read_parquet(BytesIO(self._store.get_bytes(key)))
            self._pages[key] = dict(zip(page["group_id"], page["split"], strict=True))


def _merged(pages: list[Assignment]) -> Assignment:
    merged: Assignment = {}
    for page in pages:
        merged |= page
    return merged


def _contradict(page: Assignment, other: Assignment) -> bool:
    """Whether two pages put a group into different splits."""
    return any(other.get(group, split) != split for group, split in page.items())
