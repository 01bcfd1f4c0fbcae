"""The ledger records the split of every group, so that a group stays in its split.

All data set versions of a store share one ledger. Group ids never change, so the ledger recognises a group in every
data set version. The objects under `splits/KEY/` are the pages of the ledger. KEY is a digest of the parameters and the
seed. Each run of split adds one page with the groups that are not yet on a settled page. Concurrent splits see each
other's pages, because S3 listings are strongly consistent. If the pages are deleted, the next split starts with an
empty ledger.
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

# A page that contradicts another page is deleted at once. So a page that is older than this is final (settled).
SETTLED_AGE = datetime.timedelta(hours=1)
Assignment = dict[str, str]  # split by group_id


class Ledger:
    """The splits of all groups that were assigned with the same parameters and seed."""

    def __init__(self, store: Store, key: str):
        """Open a ledger. Its pages are not read yet. `key` is a digest of the parameters and the seed."""
        self._store = store
        self._folder = f"splits/{key}"
        self._pages: dict[str, Assignment] = {}  # the pages that were read; a page never changes

    def read(self) -> Assignment:
        """Return the split of every group that is in the ledger."""
        return _merged(self._read_pages())

    def add(self, assignment: Assignment) -> bool:
        """Store the splits of a data set version's groups.

        Returns:
            True if the splits were stored. False if, in the meantime, another run put one of these groups into a
            different split. Then nothing is stored, and the caller must read the ledger and choose again. If two
            concurrent runs contradict each other, at least the run that writes last gets False. Both runs can get
            False.
        """
        settled = _merged(self._read_pages(until=datetime.datetime.now(datetime.UTC) - SETTLED_AGE))
        page = {group: split for group, split in assignment.items() if group not in settled}
        if not page:
            return True

        name = f"{self._folder}/{uuid.uuid4()}.parquet"
        self._write_page(name, page)

        # We compare with each page separately, because two other pages may contradict each other at this moment.
        for other in self._read_pages():
            if _contradict(page, other):
                self._store.delete([name])
                # If both runs delete their pages, a random pause lets one of the runs write first.
                time.sleep(random.random())
                return False
        return True

    def _write_page(self, name: str, page: Assignment) -> None:
        table = pd.DataFrame({"group_id": list(page), "split": list(page.values())})
        buffer = BytesIO()
        table.to_parquet(buffer, index=False)
        self._store.put_bytes(name, buffer.getvalue())

    def _read_pages(self, until: datetime.datetime | None = None) -> list[Assignment]:
        """Return all pages, or only the pages that were written before `until`."""
        keys = []
        for one in self._store.objects(f"{self._folder}/"):
            if until is None or one.changed < until:
                keys.append(one.key)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._fetch, set(keys) - set(self._pages)))
        return [self._pages[key] for key in keys if key in self._pages]

    def _fetch(self, key: str) -> None:
        with suppress(MissingObjectError):  # deleted in the meantime
            page = pd.read_parquet(BytesIO(self._store.get_bytes(key)))
            self._pages[key] = dict(zip(page["group_id"], page["split"], strict=True))


def _merged(pages: list[Assignment]) -> Assignment:
    merged: Assignment = {}
    for page in pages:
        merged |= page
    return merged


def _contradict(page: Assignment, other: Assignment) -> bool:
    """Return true if two pages put a group into different splits."""
    return any(other.get(group, split) != split for group, split in page.items())
