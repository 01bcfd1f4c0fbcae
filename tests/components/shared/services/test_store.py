"""Storage against a real S3 server."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.services.store import MissingObjectError, Store


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point the environment to a server that answers as the handler does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


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
    store.put_folder("results", tmp_path / "from")
    store.get_folder("results", tmp_path / "to", {name: file_digest(tmp_path / "from" / name) for name in names})
    assert {
        path.relative_to(tmp_path / "to").as_posix() for path in (tmp_path / "to").rglob("*") if path.is_file()
    } == {*names}
    assert (tmp_path / "to" / "sub/deep/three.txt").read_text() == "sub/deep/three.txt"


def test_an_upload_of_a_folder_fails_if_one_file_fails(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    (tmp_path / "more").write_text("x")
    store.put_bytes("results/data/under", b"on this server a key cannot be a prefix of another at a slash")
    with pytest.raises(InputError, match=r"PutObject of .*/results/data"):
        store.put_folder("results", tmp_path)


def test_missing_object_says_which(store: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingObjectError, match=f"there is no object {store.uri}/nothing"):
        store.get_bytes("nothing")
    with pytest.raises(MissingObjectError):
        store.get_file("nothing", tmp_path / "x")
    with pytest.raises(MissingObjectError, match=r"there is no object .*/nothing/x"):
        store.get_folder("nothing", tmp_path, {"x": "0" * 64})


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


def test_an_object_is_read_whole_from_a_server_that_refuses_if_match(
    s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SeaweedFS 3.97 answers 412 to If-Match for objects over 8 MiB that were uploaded whole."""
    data = hashlib.shake_256(b"seed").digest(20_000_000)
    refused = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "If-Match" in self.headers:
                refused.append(self.headers["Range"])
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>", {})
            elif "Range" in self.headers:
                first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
                last = min(last, len(data) - 1)
                self._answer(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})
            else:
                self._answer(200, data, {})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), "ETag": '"x"', **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    try:
        Store(s3).get_file("x", tmp_path / "x", hashlib.sha256(data).hexdigest())
        with pytest.raises(InputError, match="/x is damaged: its sha256 is"):
            Store(s3).get_file("x", tmp_path / "y", "0" * 64)
    finally:
        server.shutdown()
        server.server_close()
    assert refused
    assert (tmp_path / "x").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


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
            InputError, match=r"failed at PutObject of .*/x in every attempt: no space left on device; check the server"
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


class Altering(BaseHTTPRequestHandler):
    """An S3 server with one object. In the next `bad_reads` answers, one byte of the object is wrong."""

    content = hashlib.shake_256(b"content").digest(1000)
    bad_reads = 0

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("ETag", '"x"')
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        data = bytearray(self.content)
        if Altering.bad_reads > 0:
            data[500] ^= 1
            Altering.bad_reads -= 1
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


def test_a_good_object_that_is_read_badly_once_is_read_again(
    s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    digest = hashlib.sha256(Altering.content).hexdigest()
    with serving(Altering, monkeypatch):
        Altering.bad_reads = 1
        Store(s3).get_file("shards/x", tmp_path / "x", digest)
        assert (tmp_path / "x").read_bytes() == Altering.content

        Altering.bad_reads = 4
        with pytest.raises(InputError, match=r"/shards/x is damaged: .*; restore it .* do not delete it, because"):
            Store(s3).get_file("shards/x", tmp_path / "y", digest)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


REFUSALS = {
    "ExpiredToken": (400, r"refuses access to .*/x \(ExpiredToken\): the credentials have expired; get new ones"),
    "RequestTimeTooSkewed": (403, r"\(RequestTimeTooSkewed\): the clocks of .* differ too much; correct the clock"),
    "PermanentRedirect": (
        301,
        r"the bucket 'crack' of .* is not at http.* \((301|Perm.*)\);( it is in eu-west-1;)? set AWS_REGION and",
    ),
    "AccessDenied": (403, r"refuses access to .*/x \(AccessDenied\): check AWS_ACCESS_KEY_ID"),
}


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("call", ["get_bytes", "exists", "list", "put_bytes", "get_file", "put_file"])
def test_refusals_come_in_words(code: str, call: str, s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status, message = REFUSALS[code]

    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            if code == "PermanentRedirect":
                self.send_header("x-amz-bucket-region", "eu-west-1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    arguments = {"put_bytes": ("x", b""), "put_file": ("x", __file__), "get_file": ("x", tmp_path / "x")}
    with serving(Refusing, monkeypatch), pytest.raises(InputError, match=message.replace("/x", "/x?")):
        getattr(Store(s3), call)(*arguments.get(call, ("x",)))


def test_a_refused_question_about_the_bucket_does_not_mean_that_it_is_missing(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutRights(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            about_the_object = self.path.endswith("/x")
            self.send_response(404 if about_the_object else 403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            body = b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
            self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with serving(WithoutRights, monkeypatch):
        assert not Store(s3).exists("x")
        with pytest.raises(MissingObjectError, match=r"there is no object .*/x"):
            Store(s3).get_bytes("x")
