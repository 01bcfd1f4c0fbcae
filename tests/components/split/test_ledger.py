"""Test the ledger of splits: a group always stays in its split, also with concurrent splits."""

import datetime
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from random import Random

import pandas as pd
import pytest

from components.shared.services.store import Store, StoredObject
from components.split.ledger import Assignment, Ledger


class OneAtATime(Store):
    """A store that answers one request after the other.

    S3 listings are strongly consistent. The listings of rclone's server are not: while it reads a folder for one
    client, another client may get an old listing.
    """

    lock = threading.Lock()

    def objects(self, prefix: str = "") -> Sequence[StoredObject]:
        with self.lock:
            return super().objects(prefix)

    def put_bytes(self, key: str, data: bytes) -> None:
        with self.lock:
            super().put_bytes(key, data)

    def delete(self, keys: Iterable[str]) -> None:
        with self.lock:
            super().delete(keys)


def settle(ledger: Ledger, groups: list[str], seed: int, met: threading.Barrier) -> tuple[Assignment, int]:
    """Put the groups that are not in the ledger into random splits. Return the stored splits and the attempts."""
    random, attempts = Random(seed), 0
    while True:
        attempts += 1
        earlier = ledger.read()
        if attempts == 1:
            met.wait(60)  # all threads read before the first thread writes
        chosen = {group: earlier.get(group) or random.choice(["train", "test"]) for group in groups}
        if ledger.add(chosen):
            return chosen, attempts


def test_a_group_keeps_its_split_under_the_same_key_only(store: Store) -> None:
    ledger = Ledger(store, "key")
    assert ledger.read() == {}
    assert ledger.add({"a": "train", "b": "test"})
    assert ledger.add({"a": "train", "c": "val"})
    assert Ledger(store, "key").read() == {"a": "train", "b": "test", "c": "val"}
    assert Ledger(store, "key2").read() == {}


def test_a_split_that_contradicts_the_ledger_stores_nothing(store: Store) -> None:
    ledger = Ledger(store, "key")
    assert ledger.add({"a": "train"})
    before = store.list()
    assert not ledger.add({"a": "test", "b": "test"})
    assert store.list() == before
    assert ledger.add({"a": "train", "b": "test"})  # the same assignment is not a contradiction


def test_new_pages_that_contradict_each_other_are_not_trusted(store: Store) -> None:
    for split in ("train", "test"):  # one of the two pages will be deleted, and we do not know which one
        name = f"splits/key/{split}.parquet"
        pd.DataFrame({"group_id": ["a"], "split": [split]}).to_parquet(buffer := BytesIO(), index=False)
        store.put_bytes(name, buffer.getvalue())
    assert not Ledger(store, "key").add({"a": "train"})
    assert not Ledger(store, "key").add({"a": "test"})


def test_settled_groups_are_not_written_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(store, "key")
    assert ledger.add({"a": "train", "b": "test"})
    monkeypatch.setattr("components.split.ledger.SETTLED_AGE", datetime.timedelta(hours=-1))
    before = store.list()

    assert ledger.add({"a": "train"})
    assert store.list() == before
    assert ledger.add({"a": "train", "c": "val"})
    (page,) = set(store.list()) - set(before)
    assert pd.read_parquet(BytesIO(store.get_bytes(page[0]))).to_dict("records") == [{"group_id": "c", "split": "val"}]


@pytest.mark.parametrize("round_", range(3))
def test_concurrent_splits_agree(s3: str, round_: int) -> None:
    names = [f"g{number}" for number in range(12)]
    parts = [names[:8], names[4:], names[2:10], names]
    met = threading.Barrier(len(parts))
    with ThreadPoolExecutor(len(parts)) as pool:
        work = [
            pool.submit(settle, Ledger(OneAtATime(s3), "key"), part, 9 * round_ + n, met)
            for n, part in enumerate(parts)
        ]
        kept = [one.result() for one in work]
    ledger = Ledger(Store(s3), "key").read()

    assert max(attempts for _, attempts in kept) > 1
    for chosen, _ in kept:
        assert chosen == {group: ledger[group] for group in chosen}
