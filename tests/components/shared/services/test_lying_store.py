"""A store that lies, over a network that fails: every call ends right or with the cause."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.shared.errors import InputError
from components.shared.services.records import read_record, write_record
from components.shared.services.store import DamagedObjectError, Store
from tests.faulty_s3 import FAULTS, FaultyS3, at_random, nothing, once

DATA = hashlib.shake_256(b"content").digest(3000)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def faulty(s3: str, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """A faulty server in front of the tests' server; the environment reaches the faulty one."""
    no_pause = SimpleNamespace(sleep=lambda _: None)
    for module in ("tenacity.nap.time", "botocore.endpoint.time", "components.shared.services.store.time"):
        monkeypatch.setattr(module, no_pause)
    with FaultyS3(s3_environment["AWS_ENDPOINT_URL_S3"], nothing).serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        server.delay = 0.1
        yield server


@pytest.mark.parametrize("fault", ["lost", "wrong", "reset before", "reset after", "busy", "late"])
def test_one_fault_of_a_write_is_repaired(fault: str, store: Store, faulty: FaultyS3, s3: str, tmp_path: Path) -> None:
    through = Store(s3)
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "large").write_bytes(DATA * 2000)

    for key, write in {
        "bytes": lambda: through.put_bytes("bytes", DATA),
        "file": lambda: through.put_file("file", tmp_path / "file"),
        "large": lambda: through.put_file("large", tmp_path / "large", part_bytes=5 * 2**20),
    }.items():
        faulty.choose = once(fault, "PUT")
        write()
        faulty.choose = nothing
        assert len(store.get_bytes(key)) == (len(DATA) * 2000 if key == "large" else len(DATA))
    assert store.get_bytes("bytes", DIGEST) == store.get_bytes("file", DIGEST)
    assert faulty.happened[fault] == 3

    faulty.choose = once("lost", "POST")
    through.put_file("large", tmp_path / "large", part_bytes=5 * 2**20)
    faulty.choose = once("lost", "POST")
    through.delete(["bytes", "file", "large"])
    assert store.list() == []


@pytest.mark.parametrize("fault", ["wrong", "short", "cut", "reset before", "busy"])
def test_one_fault_of_a_read_is_repaired(fault: str, store: Store, faulty: FaultyS3, s3: str, tmp_path: Path) -> None:
    store.put_bytes("x", DATA)
    write_record(store, "record", {"number": 7})
    through = Store(s3)
    for read in (
        lambda: through.get_bytes("x", DIGEST) == DATA,
        lambda: through.get_part("x", 0, 3000, DIGEST) == DATA,
        lambda: through.get_file("x", tmp_path / "x", DIGEST) is None and (tmp_path / "x").read_bytes() == DATA,
        lambda: read_record(through, "record", dict, "") == {"number": 7},
    ):
        faulty.choose = once(fault, "GET")
        assert read()
    assert faulty.happened[fault] >= 4


def test_what_is_wrong_in_every_read_or_write_is_named(store: Store, faulty: FaultyS3, s3: str, tmp_path: Path) -> None:
    store.put_bytes("x", DATA)
    write_record(store, "record", {"number": 7})
    (tmp_path / "file").write_bytes(DATA)
    through = Store(s3)

    faulty.choose = lambda method, *_: "short" if method == "GET" else ""
    for read in (
        lambda: through.get_bytes("x", DIGEST),
        lambda: through.get_part("x", 0, 3000),
        lambda: through.get_file("x", tmp_path / "x", DIGEST),
    ):
        with pytest.raises(
            DamagedObjectError, match=r"/x (is damaged|ends before byte 3000).*; restore it from a backup"
        ):
            read()
    with pytest.raises(DamagedObjectError, match=r"/record is damaged.*; make it again"):
        read_record(through, "record", dict, "make it again")

    faulty.choose = lambda method, path, _: "lost" if method in ("PUT", "POST") else ""
    for write in (lambda: through.put_bytes("new", DATA), lambda: through.put_file("new", tmp_path / "file")):
        with pytest.raises(InputError, match=r"confirmed 4 times that .*/new is written, but it does not have"):
            write()
    with pytest.raises(InputError, match=r"confirmed 4 times that .*/x is deleted, but the object is still there"):
        through.delete(["x"])
    assert not (tmp_path / "x").exists()


def test_a_damaged_listing_is_read_again(store: Store, faulty: FaultyS3, s3: str) -> None:
    for number in range(3):
        store.put_bytes(f"d/{number}", DATA)
    whole = store.list("d/")
    through = Store(s3)
    for fault in ("wrong", "wrong key", "short", "cut", "reset after"):
        faulty.choose = once(fault, "GET", "list-type=2")
        assert through.list("d/") == whole, fault
        assert faulty.happened[fault] == 1


def test_listings_that_always_differ_are_named(store: Store, faulty: FaultyS3, s3: str) -> None:
    for number in range(20):
        store.put_bytes(f"d/{number}", DATA)
    faulty.choose = lambda method, *_: "wrong key" if method == "GET" else ""
    with pytest.raises(InputError, match=r"5 listings of s3://.*/d/ contradict each other, .*check the network and"):
        Store(s3).list("d/")


def test_a_listing_to_which_objects_are_added_all_the_time_has_those_that_two_listings_agree_on(
    store: Store, faulty: FaultyS3, s3: str
) -> None:
    store.put_bytes("d/0", DATA)
    added = []

    def add(method: str, path: str, _: str) -> str:
        if "list-type=2" in path and "start-after" not in path:
            added.append(f"d/{len(added) + 1}")
            store.put_bytes(added[-1], DATA)
        return ""

    through = Store(s3)
    faulty.choose = add
    found = [key for key, _ in through.list("d/")]
    assert len(added) == 5
    assert found == ["d/0", *added[:-1]]


def test_random_faults_of_every_kind_never_give_a_wrong_success(
    store: Store, faulty: FaultyS3, s3: str, tmp_path: Path
) -> None:
    """A small sample of what `make chaos` does."""
    through = Store(s3)
    ended_right = 0
    faulty.choose = at_random(0.15, tuple(FAULTS), seed=2)
    for number in range(12):
        data = DATA + bytes([number])
        (tmp_path / "file").write_bytes(data)
        try:
            through.put_bytes(f"{number}/bytes", data)
            through.put_file(f"{number}/file", tmp_path / "file")
            write_record(through, f"{number}/record", {"number": number})
            assert read_record(through, f"{number}/record", dict, "") == {"number": number}
            assert through.get_bytes(f"{number}/bytes", hashlib.sha256(data).hexdigest()) == data
            through.delete([f"{number}/bytes"])
        except InputError:
            continue
        ended_right += 1
        before, faulty.choose = faulty.choose, nothing
        assert [key for key, _ in store.list(f"{number}/")] == [f"{number}/file", f"{number}/record"]
        assert store.get_bytes(f"{number}/file") == data
        faulty.choose = before
    assert ended_right >= 2
    assert len(faulty.happened) >= 5
