"""The ledger of splits: one split per group for ever, also when several split at once."""

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

    S3 lists whatever was written before; rclone's server may miss it while it reads the folder anew for somebody else.
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
    """Put groups at random where the ledger does not know them; the assignment that was kept, and the attempts."""
    random, attempts = Random(seed), 0
    while True:
        attempts += 1
        earlier = ledger.read()
        if attempts == 1:
            met.wait(60)  # nobody adds before all have read
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


def test_who_comes_too_late_leaves_nothing_behind(store: Store) -> None:
    ledger = Ledger(store, "key")
    assert ledger.add({"a": "train"})
    before = store.list()
    assert not ledger.add({"a": "test", "b": "test"})
    assert store.list() == before
    assert ledger.add({"a": "train", "b": "test"})  # the same, found by two at once, is no contradiction


def test_of_two_pages_that_contradict_each_other_neither_is_believed(store: Store) -> None:
    for split in ("train", "test"):  # one of them is about to be taken back, and nobody else knows which
        name = f"splits/key/{split}.parquet"
        pd.DataFrame({"group_id": ["a"], "split": [split]}).to_parquet(buffer := BytesIO(), index=False)
        store.put_bytes(name, buffer.getvalue())
    assert not Ledger(store, "key").add({"a": "train"})
    assert not Ledger(store, "key").add({"a": "test"})


def test_what_is_settled_is_not_written_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_those_who_split_at_once_agree(s3: str, round_: int) -> None:
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
