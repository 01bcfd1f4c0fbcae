"""Record the split of every group, so that no group moves. All data set versions of a store share one ledger.

The objects under `splits/KEY/` are the pages of the ledger. KEY is a digest of the parameters and the seed. Each run of
split adds one page with the groups that are not on a settled page. Group ids never change, so the ledger recognises a
group in every data set version. Concurrent splits see each other because S3 listings are strongly consistent. If the
pages are deleted, the next split starts with an empty ledger.
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

# A page that contradicts another page is deleted at once. So an older page is final.
SETTLED_AGE = datetime.timedelta(hours=1)
Assignment = dict[str, str]  # split by group_id


class Ledger:
    """The splits of all groups that were assigned with the same parameters and seed."""

    def __init__(self, store: Store, key: str):
        """Open a ledger without reading it. `key` is a digest of the parameters and the seed."""
        self._store = store
        self._folder = f"splits/{key}"
        self._pages: dict[str, Assignment] = {}  # read so far; a page never changes

    def read(self) -> Assignment:
        """Return the split of every group that is in the ledger."""
        return _merged(self._read_pages())

    def add(self, assignment: Assignment) -> bool:
        """Store the splits of a data set version's groups.

        Returns:
            True if they were stored. False if another run put one of these groups into a different split in the
            meantime. Then nothing is stored, and the caller must read the ledger and choose again. If two concurrent
            runs contradict each other, the run that writes last sees the other page and gets False. Both can get False.
        """
        settled = _merged(self._read_pages(until=datetime.datetime.now(datetime.UTC) - SETTLED_AGE))
        page = {group: split for group, split in assignment.items() if group not in settled}
        if not page:
            return True

        name = f"{self._folder}/{uuid.uuid4()}.parquet"
        self._write_page(name, page)

        # Compare with each single page, because two other pages can contradict each other until one is deleted.
        for other in self._read_pages():
            if _contradict(page, other):
                self._store.delete([name])
                # If both runs deleted their pages, a random pause lets one of them write first.
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
