"""The HTTP server of a model: how it treats slow clients and many clients, and what it counts."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http.client import HTTPConnection

import pytest

from components.shared.network import served_http
from components.shared.network.served_http import Guard, server


class Application:
    """An application that answers each request with its number of images, and counts the requests at once.

    It answers only while `open` is set.
    """

    def __init__(self) -> None:
        self.running = 0
        self.most_running = 0
        self.open = threading.Event()
        self.open.set()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        body = (await receive())["body"]
        await asyncio.to_thread(time.sleep, 0.02)
        await asyncio.to_thread(self.open.wait, 20)
        self.running -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": b"%8d" % len(json.loads(body)["dataframe_split"]["data"])})


class Served:
    """The application behind the real guard, on a loopback port."""

    def __init__(self) -> None:
        self.application = Application()
        self.counted: list[tuple[int, float]] = []
        self.server = server(self.application, "127.0.0.1", 0, lambda *request: self.counted.append(request))
        self.guard = self.server.config.app
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        wait_until(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def post(self, body: bytes = b'{"inputs": ["A", "B"]}') -> tuple[int, str]:
        status, text, _ = self.post_for_headers(body)
        return status, text

    def post_for_headers(self, body: bytes) -> tuple[int, str, Message]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers

    def send(self, start: bytes) -> socket.socket:
        """Open a connection, and send the start of a request."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        client.sendall(start)
        return client


def wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def served() -> Iterator[Served]:
    running = Served()
    yield running
    running.server.should_exit = running.server.force_exit = True
    running.thread.join()


HEADERS = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
STALLED = {"silence": b"", "half of the headers": HEADERS[:60], "headers only": HEADERS, "one byte": HEADERS + b"{"}


def test_stalled_clients_do_not_keep_a_good_client_from_its_answer(served):
    with contextlib.ExitStack() as stack:
        for start in STALLED.values():
            for _ in range(20):
                stack.enter_context(served.send(start))
        wait_until(lambda: served.guard.held_bytes == 20)  # the bytes of "one byte"
        assert served.post() == (200, "       2")


def everything(client: socket.socket) -> bytes:
    """What a server sends until it closes the connection."""
    received = b""
    with client, contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    return received


@pytest.mark.parametrize("start", list(STALLED.values()), ids=list(STALLED))
@pytest.mark.parametrize("dribble", [b"", b"a"], ids=["silent", "byte by byte"])
def test_the_connection_of_a_stalled_client_is_closed(served, monkeypatch, start, dribble):
    monkeypatch.setattr(served_http, "SECONDS_PER_REQUEST", 0.2)
    monkeypatch.setattr(served_http, "SECONDS_PER_MB", 0.2)
    client = served.send(start)
    closed = threading.Event()

    def send_slowly() -> None:
        with contextlib.suppress(OSError):
            while not closed.wait(0.02):
                client.sendall(dribble)

    with ThreadPoolExecutor() as pool:
        pool.submit(send_slowly)
        received = everything(client)
        closed.set()
    head, _, body = received.partition(b"\r\n\r\n")
    if start.startswith(HEADERS):
        assert head.startswith(b"HTTP/1.1 408")
        assert "did not arrive in time" in json.loads(body)["message"]
    else:
        assert received == b""
    assert served.guard.held_bytes == 0
    assert served.post()[0] == 200


def test_a_connection_is_closed_if_no_further_request_comes_after_an_answer(served, monkeypatch):
    monkeypatch.setattr(served_http, "SECONDS_PER_REQUEST", 0.2)
    answered = served.send(HEADERS + b'{"inputs": []}' + b" " * 986)
    answered.sendall(HEADERS[:30])
    assert everything(answered).endswith(b"       0")


@pytest.mark.parametrize(("parts_per_mb", "expected"), [(1, 200), (2, 408)])
def test_a_slow_body_is_answered_if_each_mb_arrives_in_time(parts_per_mb, expected):
    part = b" " * (served_http.MB // parts_per_mb)
    parts = [b'{"inputs": []}', *[part] * 5]
    now = 0.0
    sent = []

    async def receive() -> dict:
        nonlocal now
        now += 0.9 * served_http.SECONDS_PER_MB
        await asyncio.sleep(0)
        return {"body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict) -> None:
        sent.append(message)

    async def answer() -> None:
        asyncio.get_running_loop().time = lambda: now
        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
        await Guard(Application(), lambda *_: None)(scope, receive, send)

    asyncio.run(answer())
    assert sent[0]["status"] == expected


def test_two_requests_are_answered_at_once_and_the_others_wait(served):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: served.post(), range(8)))
    assert answers == [(200, "       2")] * 8
    assert served.application.most_running == served_http.REQUESTS_AT_ONCE


def test_requests_beyond_those_that_may_wait_are_refused_at_once_and_later_answered(served, monkeypatch):
    monkeypatch.setattr(served_http, "MAX_WAITING", 3)
    served.application.open.clear()
    with ThreadPoolExecutor(5) as pool:
        accepted = [pool.submit(served.post) for _ in range(5)]
        wait_until(lambda: (served.application.running, served.guard.waiting) == (2, 3))
        status, text, headers = served.post_for_headers(b'{"inputs": ["A"]}')
        assert (status, headers["Retry-After"]) == (503, str(served_http.RETRY_AFTER_SECONDS))
        assert json.loads(text)["message"] == "3 other requests wait for an answer; send this request again later"
        served.application.open.set()
        assert [request.result() for request in accepted] == [(200, "       2")] * 5
    assert served.post()[0] == 200


def test_each_request_is_counted_with_its_status_and_the_time_that_it_took(served):
    assert served.post()[0] == 200
    assert served.post(b"no JSON")[0] == 400
    statuses, seconds = zip(*served.counted, strict=True)
    assert statuses == (200, 400)
    assert seconds[0] >= 0.02  # the application's own time


def test_bodies_beyond_the_memory_for_all_bodies_are_refused_until_there_is_room(served, monkeypatch):
    monkeypatch.setattr(served_http, "MAX_HELD_BYTES", 1000)
    with served.send(HEADERS + b" " * 999):
        wait_until(lambda: served.guard.held_bytes == 999)
        status, text, headers = served.post_for_headers(b'{"inputs": ["A", "B"]}')
        assert (status, "send this request again later" in text) == (503, True)
        assert headers["Retry-After"] == str(served_http.RETRY_AFTER_SECONDS)
    wait_until(lambda: served.guard.held_bytes == 0)
    assert served.post()[0] == 200


BASE64 = b'"AAAA"'


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"inputs": [[%s, 1]]}' % BASE64, "row 0 has 2 cells; send one cell, the image in base64"),
        (b'{"inputs": [%s, []]}' % BASE64, "row 1 has 0 cells; send one cell, the image in base64"),
        (
            b'{"inputs": [%s], "params": {"threshold": 0}}' % BASE64,
            "the request has params, which this model does not use; remove them",
        ),
    ],
)
def test_a_request_that_would_be_misread_is_refused_with_the_reason(served, body, sentence):
    status, text = served.post(body)
    assert (status, json.loads(text)["message"]) == (400, sentence)


def test_a_cell_that_cannot_be_base64_is_left_to_the_model_and_a_second_column_is_refused():
    images_of = served_http.REQUESTS.images_of
    digits = b"9" * 10_000
    cells = rb'{"inputs": ["\ud800", %s, "AAAA", null]}' % digits
    assert images_of(bytearray(cells), "application/json") == [[None], [None], ["AAAA"], [None]]
    with pytest.raises(served_http.RefusedError, match="the CSV table has 2 columns image; send one"):
        images_of(bytearray(b"image,image\nAAAA,BBBB\n"), "text/csv")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Content-Length: 99000000000", b"413"),
        (b"Content-Length: 34000000\r\nExpect: 100-continue", b"413"),
        (b"Content-Length: 1000\r\nContent-Encoding: gzip", b"415"),
    ],
)
def test_a_request_that_its_headers_rule_out_is_refused_before_its_body_arrives(served, header, status):
    client = served.send(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n%s\r\n\r\n" % header)
    assert client.recv(65536).startswith(b"HTTP/1.1 " + status)
    client.close()
