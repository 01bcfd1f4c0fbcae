"""Storage against a real S3 server."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from components.shared.errors import InputError
from components.shared.services.store import MissingObjectError, Store


def test_bytes_come_back_as_they_were_put(store: Store) -> None:
    data = bytes(range(256)) * 1000
    store.put_bytes("a/b.bin", data)
    assert store.get_bytes("a/b.bin") == data
    assert store.exists("a/b.bin")
    assert not store.exists("a/b")


def test_files_larger_than_one_part_come_back_whole(store: Store, tmp_path: Path) -> None:
    data = hashlib.shake_256(b"seed").digest(20_000_000)  # two multipart parts and more
    (tmp_path / "big").write_bytes(data)
    store.put_file("big", tmp_path / "big")
    store.get_file("big", tmp_path / "there" / "big", hashlib.sha256(data).hexdigest())
    assert (tmp_path / "there" / "big").read_bytes() == data
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["big"]


def test_content_with_another_digest_never_appears(store: Store, tmp_path: Path) -> None:
    store.put_bytes("x", b"damaged")
    with pytest.raises(InputError, match="/x is damaged: its sha256 is"):
        store.get_file("x", tmp_path / "x", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_list_gives_keys_under_the_root_with_sizes(store: Store) -> None:
    for key, size in (("d/2", 2), ("d/1", 1), ("e/3", 3)):
        store.put_bytes(key, b"." * size)
    assert store.list("d/") == [("d/1", 1), ("d/2", 2)]
    assert store.list() == [("d/1", 1), ("d/2", 2), ("e/3", 3)]
    assert store.list("none/") == []


def test_delete_takes_many_keys_and_missing_ones(store: Store) -> None:
    for number in range(5):
        store.put_bytes(f"k/{number}", b".")
    store.delete([*(f"k/{number}" for number in range(4)), "k/never-there"])
    assert store.list() == [("k/4", 1)]


def test_folder_round_trip(store: Store, tmp_path: Path) -> None:
    names = ["one.txt", "sub/two.txt", "sub/deep/three.txt", "done"]
    for name in names:
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_text(name)
    store.put_folder("results", tmp_path / "from", last="done")
    store.get_folder("results", tmp_path / "to")
    assert {
        path.relative_to(tmp_path / "to").as_posix() for path in (tmp_path / "to").rglob("*") if path.is_file()
    } == {*names}
    assert (tmp_path / "to" / "sub/deep/three.txt").read_text() == "sub/deep/three.txt"


def test_commit_marker_is_not_written_when_another_file_fails(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    (tmp_path / "done").write_text("x")
    store.put_bytes("results/data/under", b"on this server a key cannot be a prefix of another at a slash")
    with pytest.raises(Exception, match="PutObject"):
        store.put_folder("results", tmp_path, last="done")
    assert not store.exists("results/done")


def test_missing_object_says_which(store: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingObjectError, match=f"there is no object {store.uri}/nothing"):
        store.get_bytes("nothing")
    with pytest.raises(MissingObjectError):
        store.get_file("nothing", tmp_path / "x")
    with pytest.raises(MissingObjectError, match="nothing under"):
        store.get_folder("nothing", tmp_path)


@pytest.mark.parametrize("call", ["get_bytes", "exists", "list", "put_bytes", "put_file"])
def test_missing_bucket_is_named(s3: str, call: str) -> None:
    arguments = {"put_bytes": ("key", b""), "put_file": ("key", __file__)}.get(call, ("key",))
    with pytest.raises(InputError, match="bucket 'not-there' of s3://not-there/x does not exist at http"):
        getattr(Store("s3://not-there/x"), call)(*arguments)


def test_wrong_credentials_are_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebodyelse")
    for call in (lambda s: s.get_bytes("x"), lambda s: s.exists("x"), lambda s: s.put_bytes("x", b"")):
        with pytest.raises(InputError, match=r"refuses access .* check AWS_ACCESS_KEY_ID"):
            call(Store(s3))


def test_endpoint_that_is_down_is_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(
        InputError, match=r"the storage endpoint http://127.0.0.1:9 \(AWS_ENDPOINT_URL_S3\) cannot be reached"
    ):
        Store(s3).get_bytes("x")


def test_missing_endpoint_and_credentials_are_named(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(InputError, match=r"no credentials .* set AWS_ACCESS_KEY_ID"):
        Store(s3).get_bytes("x")
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"no storage endpoint for s3://.*: set AWS_ENDPOINT_URL_S3"):
        Store(s3)


def test_uri_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="'/tmp/x'; write it as s3://BUCKET/PREFIX"):
        Store("/tmp/x")


def test_a_read_that_is_cut_is_tried_again_and_then_named(
    s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked, pauses = [], []
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)

    class Cutting(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.send_header("ETag", '"x"')
            self.end_headers()

        def do_GET(self) -> None:
            asked.append(self.path)
            self.do_HEAD()
            self.wfile.write(b"only this")
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Cutting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    try:
        with pytest.raises(InputError, match=r"was lost in every attempt to fetch .*/x: .*; check the network"):
            Store(s3).get_file("x", tmp_path / "x")
        with pytest.raises(InputError, match=r"was lost in every attempt to fetch .*/x"):
            Store(s3).get_part("x", 10, 500)
        assert [0 <= pause <= 2**attempt for attempt, pause in enumerate(pauses[-3:])] == [True] * 3
    finally:
        server.shutdown()
        server.server_close()
    assert len(asked) > 2
    assert list(tmp_path.iterdir()) == []


def test_a_failing_server_is_tried_again_and_then_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Failing(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b"<Error><Code>InternalError</Code><Message>no space left on device</Message></Error>"
            self.send_response(500)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    try:
        with pytest.raises(
            InputError, match=r"fails at PutObject of .*/x, .*: no space left on device; check the server"
        ):
            Store(s3).put_bytes("x", b"content")
    finally:
        server.shutdown()
        server.server_close()
    assert len(asked) > 2


def test_part_of_an_object(store: Store) -> None:
    store.put_bytes("x", bytes(range(100)))
    assert store.get_part("x", 40, 3) == bytes([40, 41, 42])
    with pytest.raises(MissingObjectError):
        store.get_part("nothing", 0, 1)
