"""Objects that others wrote: compared with the server's MD5, or read until two reads agree."""

import hashlib
import os
from datetime import UTC, datetime

import pytest

from components.shared.errors import InputError
from components.shared.services.foreign import ForeignObjects, read_agreed
from components.shared.services.store import Store, StoredObject
from tests.answering_server import answering

RIGHT, OTHER = b"the content", b"the con-ent"
MD5 = hashlib.md5(RIGHT).hexdigest()


@pytest.fixture
def reading(s3, monkeypatch):
    """Return a function that reads objects, and returns what it read and the log.

    Its argument `objects` maps a key to (tag, contents of the first read, the second read, …).
    """

    def read(objects, caplog):
        contents = {key: iter(bodies) for key, (_, bodies) in objects.items()}

        def answer(method, path, headers):
            key = os.path.basename(path)
            return 200, {"ETag": f'"{objects[key][0]}"'}, next(contents[key])

        with answering(answer) as address:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
            reader = ForeignObjects(Store("s3://theirs"))
            now = datetime.now(UTC)
            found = [reader.read(StoredObject(key, len(RIGHT), tag, now)) for key, (tag, _) in objects.items()]
            reader.check()
        return found, caplog.text

    return read


def test_an_object_with_an_md5_is_compared_with_it(reading, caplog):
    found, said = reading({"a": (MD5, [RIGHT]), "b": (MD5, [OTHER, RIGHT]), "c": (MD5, [RIGHT[:3], RIGHT])}, caplog)
    assert found == [RIGHT] * 3
    assert "no checksum" not in said


def test_an_object_without_an_md5_is_read_until_two_reads_agree_and_that_is_said(reading, caplog):
    in_parts = f"{MD5}-2"
    found, said = reading({"a": (MD5, [RIGHT]), "b": (in_parts, [OTHER, RIGHT, RIGHT])}, caplog)
    assert found == [RIGHT] * 2
    assert "1 of 2 objects of s3://theirs have no checksum that can be compared, so each was read twice" in said


def test_an_object_that_the_store_has_damaged_is_named(reading, caplog):
    with pytest.raises(InputError, match=r"theirs/b was read twice, and both times its MD5 .* For 1 other object, MD5"):
        reading({"a": (MD5, [RIGHT]), "b": (MD5, [OTHER, OTHER])}, caplog)
    with pytest.raises(InputError, match=r"theirs/a was read 4 times. Either each read returned different content, "):
        reading({"a": ("", [bytes([number]) * len(RIGHT) for number in range(4)])}, caplog)


def test_a_server_whose_tags_are_no_md5_can_be_used(reading, caplog):
    found, said = reading({key: ("0" * 32, [RIGHT, RIGHT]) for key in "ab"}, caplog)
    assert found == [RIGHT] * 2
    assert "2 of 2 objects of s3://theirs have no checksum" in said


def test_a_small_object_is_taken_when_two_reads_agree(s3, monkeypatch):
    bodies = iter([RIGHT, OTHER, RIGHT, RIGHT, b"1", b"2", b"3", b"4", b"5"])
    with answering(lambda *_: (200, {"ETag": '"x"'}, next(bodies))) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        assert read_agreed(Store("s3://theirs"), "x.sha256") == RIGHT
        with pytest.raises(InputError, match=r"theirs/x.sha256 is different in every read"):
            read_agreed(Store("s3://theirs"), "x.sha256")
