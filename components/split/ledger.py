"""Which split every group of images was ever put into, so that none moves: one ledger for all versions of a store.

The objects under `splits/KEY/` are its pages, KEY naming parameters and seed. Each split of a data set version adds
one, with the groups that no settled page has. Group ids never change, so a group is known again in whichever version it
comes back, of whichever sources that was made. Whoever deletes the pages splits anew. That nobody overlooks another who
splits at the same time rests on S3's promise to list whatever was written before.
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

SETTLED = datetime.timedelta(hours=1)  # age from which nobody takes a page back: that happens at once, or never
Assignment = dict[str, str]  # split by group_id


class Ledger:
    """Where groups are by the same parameters and seed, under a key that names these."""

    def __init__(self, store: Store, key: str):
        self._store, self._folder = store, f"splits/{key}"
        self._pages: dict[str, Assignment] = {}  # those read so far: a page never changes

    def read(self) -> Assignment:
        """All groups that were ever put into a split."""
        return _together(self._read_pages())

    def add(self, assignment: Assignment) -> bool:
        """Keep where the groups of a version are.

        Returns:
            False where someone else put one of them elsewhere meanwhile; then nothing is kept: read and choose again.
            Of two who add at once, whoever writes last sees the other's page, and gives way; both may.
        """
        settled = _together(self._read_pages(until=datetime.datetime.now(datetime.UTC) - SETTLED))
        page = {group: split for group, split in assignment.items() if group not in settled}
        if not page:
            return True
        name, buffer = f"{self._folder}/{uuid.uuid4()}.parquet", BytesIO()
        pd.DataFrame({"group_id": list(page), "split": list(page.values())}).to_parquet(buffer, index=False)
        self._store.put_bytes(name, buffer.getvalue())
        # each for itself: of two that contradict each other, one will be taken back
        if all(other.get(group, split) == split for other in self._read_pages() for group, split in page.items()):
            return True
        self._store.delete([name])
        time.sleep(random.random())  # where both gave way, one comes back first
        return False

    def _read_pages(self, until: datetime.datetime | None = None) -> list[Assignment]:
        """All pages, or those that were written before a time."""
        keys = [one.key for one in self._store.objects(f"{self._folder}/") if until is None or one.changed < until]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._fetch, set(keys) - set(self._pages)))
        return [self._pages[key] for key in keys if key in self._pages]

    def _fetch(self, key: str) -> None:
        with suppress(MissingObjectError):  # taken back meanwhile
            page = pd.read_parquet(BytesIO(self._store.get_bytes(key)))
            self._pages[key] = dict(zip(page["group_id"], page["split"], strict=True))


def _together(pages: list[Assignment]) -> Assignment:
    return {group: split for page in pages for group, split in page.items()}
