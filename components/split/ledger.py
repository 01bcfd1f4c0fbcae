"""The ledger records the split of every group, so that a group stays in its split.

All data set versions of a store share a ledger if they are split with the same parameters and seed. Group ids never
change, so the ledger recognises a group in every data set version.

The ledger consists of pages, which are the objects under `splits/KEY/`. KEY is a digest of the parameters and the seed.
Each run of the split step adds one page. The page contains the run's groups, except for groups that are already in a
page older than one hour. The name of a page ends with the sha256 of its content. Concurrent runs see each other's
pages, because S3 listings are strongly consistent. If the pages are deleted, the next run starts with an empty ledger.
"""

import datetime
import random
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pandas as pd

from components.shared.errors import InputError
from components.shared.hashing import bytes_digest
from components.shared.services.s3_client import ATTEMPTS, THREADS
from components.shared.services.store import MissingObjectError, Store

# A run deletes its own page at once if the page contradicts another page. So a page older than this time is final. We
# call its groups settled.
SETTLED_AGE = datetime.timedelta(hours=1)
DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{64})\.parquet$")
Assignment = dict[str, str]  # group_id -> split


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
        """Store in which split each group of a data set version is.

        Returns:
            True if the ledger has these splits now. False if another run has put one of these groups into a different
            split in the meantime. Then nothing is stored, and the caller must read the ledger and choose splits again.
            If two concurrent runs contradict each other, the run that writes last gets False. The other run may get
            False too.
        """
        settled = _merged(self._read_pages(until=datetime.datetime.now(datetime.UTC) - SETTLED_AGE))
        page = {group: split for group, split in assignment.items() if group not in settled}
        if not page:
            return True

        name = self._write_page(page)

        # We compare with each page separately, because two other pages may contradict each other at this moment.
        for other in self._read_pages():
            if _contradict(page, other):
                self._store.delete([name])
                # If both runs delete their pages, both runs try again. The pauses are random, so one of the runs writes
                # first.
                time.sleep(random.random())
                return False
        return True

    def _write_page(self, page: Assignment) -> str:
        """Store a page and return its key. Two runs never write the same key, so each run may delete its own page."""
        table = pd.DataFrame({"group_id": list(page), "split": list(page.values())})
        buffer = BytesIO()
        table.to_parquet(buffer, index=False)

        data = buffer.getvalue()
        name = f"{self._folder}/{uuid.uuid4()}-{bytes_digest(data)}.parquet"
        self._store.put_bytes(name, data)
        return name

    def _read_pages(self, until: datetime.datetime | None = None) -> list[Assignment]:
        """Return the contents of all pages, or only of the pages that were written before `until`."""
        for _ in range(ATTEMPTS):
            keys = []
            for one in self._store.objects(f"{self._folder}/"):
                if until is None or one.changed < until:
                    keys.append(one.key)
            with ThreadPoolExecutor(THREADS) as pool:
                there = list(pool.map(self._fetch, keys))
            if all(there):
                return [self._pages[key] for key in keys]
        raise InputError(
            f"the store {self._store.uri} lists objects under {self._folder}/, but then answers that they do not "
            "exist; check the storage server"
        )

    def _fetch(self, key: str) -> bool:
        """Read a page if it is not read yet. Return false if it was deleted after the listing."""
        if key in self._pages:
            return True
        digest = DIGEST_IN_NAME.search(key)  # the names of pages from early releases have no digest
        try:
            data = self._store.get_bytes(key, digest[1] if digest else None)
        except MissingObjectError:
            return False
        page = pd.read_parquet(BytesIO(data))
        self._pages[key] = dict(zip(page["group_id"], page["split"], strict=True))
        return True


def _merged(pages: list[Assignment]) -> Assignment:
    merged: Assignment = {}
    for page in pages:
        merged |= page
    return merged


def _contradict(page: Assignment, other: Assignment) -> bool:
    """Return true if two pages put a group into different splits."""
    return any(other.get(group, split) != split for group, split in page.items())
