"""Which split every group of images was ever put into, so that none moves: one ledger for all versions of a store.

The objects under `splits/KEY/` are its pages, KEY naming parameters and seed. Each split of a data set version adds
one, with the groups that were new to it. Group ids never change, so a group is known again in whichever version it
comes back, of whichever sources that was made. Whoever deletes the pages splits anew.
"""

import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pandas as pd

from components.shared.s3_client import THREADS
from components.shared.storage import MissingObjectError, Store

Assignment = dict[str, str]  # split by group_id


class Ledger:
    """Where groups are by the same parameters and seed, under a key that names these."""

    def __init__(self, store: Store, key: str):
        self._store, self._folder = store, f"splits/{key}"

    def read(self) -> Assignment:
        """All groups that were ever put into a split."""
        return self._read()

    def add(self, assignment: Assignment) -> bool:
        """Keep where new groups were put.

        Returns:
            False where someone else put one of them elsewhere meanwhile; then nothing is kept: read and choose again.
            Of two who add at once, whoever writes last sees the other's page, and gives way.
        """
        if not assignment:
            return True
        page, buffer = f"{self._folder}/{uuid.uuid4()}.parquet", BytesIO()
        pd.DataFrame({"group_id": list(assignment), "split": list(assignment.values())}).to_parquet(buffer, index=False)
        self._store.put_bytes(page, buffer.getvalue())
        others = self._read(page)
        if all(others.get(group, split) == split for group, split in assignment.items()):
            return True
        self._store.delete([page])
        time.sleep(random.random())  # where both saw each other, one comes back first
        return False

    def _read(self, but: str = "") -> Assignment:
        pages = [key for key, _ in self._store.list(f"{self._folder}/") if key != but]
        with ThreadPoolExecutor(THREADS) as pool:
            read = list(pool.map(self._page, pages))
        return {group: split for page in read for group, split in page.items()}

    def _page(self, key: str) -> Assignment:
        try:
            page = pd.read_parquet(BytesIO(self._store.get_bytes(key)))
        except MissingObjectError:  # taken back by someone who was too late
            return {}
        return dict(zip(page["group_id"], page["split"], strict=True))
