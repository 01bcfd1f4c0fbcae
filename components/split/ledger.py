"""Which split every group of images was ever put into, so that none moves: one ledger for all versions of a store.

The objects under `splits/KEY/` are its pages, KEY naming parameters and seed. Each split of a data set version adds
one, with the groups that no settled page has. Group ids never change, so a group is known again in whichever version it
comes back, of whichever sources that was made. Whoever deletes the pages splits anew.
"""

import datetime
import random
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO

import pandas as pd

from components.shared.s3_client import THREADS
from components.shared.storage import MissingObjectError, Store

SETTLED = datetime.timedelta(hours=1)  # age from which nobody takes a page back: that happens at once, or never
Assignment = dict[str, str]  # split by group_id


class Ledger:
    """Where groups are by the same parameters and seed, under a key that names these."""

    def __init__(self, store: Store, key: str):
        self._store, self._folder = store, f"splits/{key}"
        self._pages: dict[str, Assignment] = {}  # those read so far: a page never changes

    def read(self) -> Assignment:
        """All groups that were ever put into a split."""
        return self._content(key for key, _ in self._store.list(f"{self._folder}/"))

    def add(self, assignment: Assignment) -> bool:
        """Keep where the groups of a version are.

        Returns:
            False where someone else put one of them elsewhere meanwhile; then nothing is kept: read and choose again.
            Of two who add at once, whoever writes last sees the other's page, and gives way; both may.
        """
        since = datetime.datetime.now(datetime.UTC) - SETTLED
        settled = self._content(one.key for one in self._store.objects(f"{self._folder}/") if one.changed < since)
        page = {group: split for group, split in assignment.items() if group not in settled}
        if not page:
            return True
        name, buffer = f"{self._folder}/{uuid.uuid4()}.parquet", BytesIO()
        pd.DataFrame({"group_id": list(page), "split": list(page.values())}).to_parquet(buffer, index=False)
        self._store.put_bytes(name, buffer.getvalue())
        others = self._content(key for key, _ in self._store.list(f"{self._folder}/") if key != name)
        if all(others.get(group, split) == split for group, split in page.items()):
            return True
        self._store.delete([name])
        time.sleep(random.random())  # where both gave way, one comes back first
        return False

    def _content(self, pages: Iterable[str]) -> Assignment:
        pages = list(pages)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._fetch, set(pages) - set(self._pages)))
        return {group: split for key in pages for group, split in self._pages.get(key, {}).items()}

    def _fetch(self, key: str) -> None:
        with suppress(MissingObjectError):  # taken back meanwhile
            page = pd.read_parquet(BytesIO(self._store.get_bytes(key)))
            self._pages[key] = dict(zip(page["group_id"], page["split"], strict=True))
