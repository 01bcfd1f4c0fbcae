"""The HTTP server of a model: what it adds to answers, and how it treats slow clients and many clients."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pandas as pd
import pytest

from components.shared.network import served_http
from components.shared.network.served_http import Guard, NamedModel, require_answer, server

ANSWERS = {"p_crack": [0.2, 0.9], "label": ["no_crack", "crack"], "threshold": 0.5, "novelty": 0.3}


class LoadedModel:
    """A model as MLflow loads it. Its answers are given."""

    metadata = "what MLflow knows about the model"

    def __init__(self, answers: dict):
        self.answers = answers

    def predict(self, data: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
        return pd.DataFrame(self.answers)


@pytest.mark.parametrize(("band", "expected"), [({"needs_review": [True, False]}, [True, False]), ({}, [None, None])])
def test_every_answer_names_the_model_and_a_version_without_a_review_band_answers_null(band, expected):
    named = NamedModel(LoadedModel(ANSWERS | band), "crack-classifier", "3")
    found = named.predict(pd.DataFrame({"image": ["", ""]}), params=None)
    assert found["needs_review"].tolist() == expected
    assert list(found) == ["p_crack", "label", "threshold", "novelty", "needs_review", "model", "version"]
    assert found[["model", "version"]].to_numpy().tolist() == [["crack-classifier", "3"]] * 2
    assert named.metadata == LoadedModel.metadata


def test_a_model_that_cannot_answer_is_not_served():
    class Broken(LoadedModel):
        def predict(self, data: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
            raise ValueError("no weights")

    require_answer(NamedModel(LoadedModel(ANSWERS), "crack-classifier", "3"))
    with pytest.raises(SystemExit, match="cannot classify a test image: ValueError: no weights; serve another version"):
        require_answer(NamedModel(Broken(ANSWERS), "crack-classifier", "3"))


class Application:
    """An application that answers with the number of images in a request. It also counts simultaneous requests."""

    def __init__(self) -> None:
        self.running = 0
        self.most_running = 0

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        body = (await receive())["body"]
        await asyncio.to_thread(time.sleep, 0.02)
        self.running -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": b"%8d" % len(json.loads(body)["dataframe_split"]["data"])})


class Served:
    """The application behind the real guard, on a loopback port."""

    def __init__(self) -> None:
        self.application = Application()
        self.server = server(self.application, "127.0.0.1", 0)
        self.guard = self.server.config.app
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        wait_until(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def post(self, body: bytes = b'{"inputs": ["A", "B"]}') -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()

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
        await Guard(Application())(scope, receive, send)

    asyncio.run(answer())
    assert sent[0]["status"] == expected


def test_two_requests_are_answered_at_once_and_the_others_wait(served):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: served.post(), range(8)))
    assert answers == [(200, "       2")] * 8
    assert served.application.most_running == served_http.REQUESTS_AT_ONCE


def test_bodies_beyond_the_memory_for_all_bodies_are_refused_until_there_is_room(served, monkeypatch):
    monkeypatch.setattr(served_http, "MAX_HELD_BYTES", 1000)
    with served.send(HEADERS + b" " * 999):
        wait_until(lambda: served.guard.held_bytes == 999)
        status, text = served.post()
        assert (status, "send this request again later" in text) == (503, True)
    wait_until(lambda: served.guard.held_bytes == 0)
    assert served.post()[0] == 200
