"""An S3 server in front of a real one. It passes requests on, or imitates a fault of a network or of a store."""

import contextlib
import hashlib
import http.client
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

DELAY_SECONDS = 5.0
KEY = re.compile(rb"<Key>([^<]+)</Key>")
SKEW = timedelta(minutes=20)
NOT_PASSED_ON = ("connection", "expect", "transfer-encoding")
ERRORS = {
    "busy": (503, "SlowDown"),
    "expired": (400, "ExpiredToken"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "refused": (403, "AccessDenied"),
    "elsewhere": (301, "PermanentRedirect"),
}
FAULTS = {
    "busy": "the server answers 503",
    "reset before": "the connection breaks before the server has the request",
    "reset after": "the connection breaks after the server has done what was asked",
    "late": f"the answer comes {DELAY_SECONDS:g} s late",
    "cut": "the connection breaks in the middle of the body",
    "short": "the body lacks its end, and the headers do not show it",
    "wrong": "one byte of what is sent or received is another",
    "wrong key": "one character of a key in a listing is another",
    "lost": "a write or a deletion is confirmed and not done",
    "expired": "the credentials have expired",
    "skewed": "the server's clock is 20 minutes ahead",
}

# From method, path with query, and session token to the name of a fault; "" for none.
Choose = Callable[[str, str, str], str]


class FaultyS3:
    """The server. `choose` may be replaced at any time; `happened` counts the faults that took place."""

    def __init__(self, upstream: str, choose: Choose, seed: int = 0):
        self.choose = choose
        self.happened: Counter[str] = Counter()
        self.rng = random.Random(seed)
        self.lock = threading.Lock()
        self.delay = DELAY_SECONDS
        address = urlsplit(upstream)
        self.upstream = (address.hostname or "", address.port or 80)

        faulty = self

        class Bound(_Handler):
            server_state = faulty

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def serving(self) -> Iterator["FaultyS3"]:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def fault_of(self, method: str, path: str, token: str) -> str:
        with self.lock:
            return self.choose(method, path, token)

    def with_a_wrong_byte(self, data: bytes) -> bytes:
        with self.lock:
            place, other = self.rng.randrange(len(data)), self.rng.randrange(1, 256)
        return data[:place] + bytes([data[place] ^ other]) + data[place + 1 :]

    def with_a_wrong_key(self, data: bytes) -> bytes:
        """Change the last character of a key in a listing. Return other data unchanged."""
        with self.lock:
            ends = [key.end(1) - 1 for key in KEY.finditer(data)]
            place = self.rng.choice(ends) if ends else len(data)
        other = b"h" if data[place : place + 1] != b"h" else b"g"
        return data[:place] + other + data[place + 1 :] if ends else data


def nothing(*_: str) -> str:
    """Choose no fault."""
    return ""


def at_random(share: float, faults: tuple[str, ...], seed: int) -> Choose:
    """Choose a fault at random for some requests. With a `share` of 0.1, every tenth request gets one on average."""
    rng = random.Random(seed)
    return lambda *_: rng.choice(faults) if rng.random() < share else ""


def once(fault: str, method: str, part_of_path: str = "") -> Choose:
    """Choose a fault for the first request with this method and path only."""
    pending = [fault]
    return lambda asked, path, _: pending.pop() if pending and asked == method and part_of_path in path else ""


def once_for_each(faults: tuple[str, ...], part_of_path: str) -> Choose:
    """Choose a fault for the first GET of each path that contains the text, one fault after another."""
    seen: set[str] = set()

    def choose(method: str, path: str, _: str) -> str:
        if method != "GET" or part_of_path not in path or path in seen:
            return ""
        seen.add(path)
        return faults[len(seen) % len(faults)]

    return choose


class _Handler(BaseHTTPRequestHandler):
    server_state: FaultyS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        state = self.server_state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("x-amz-security-token", "")
        fault = state.fault_of(self.command, self.path, token)
        if fault in ERRORS:
            self._count(fault)
            self._refuse(*ERRORS[fault])
            return
        if fault == "reset before":
            self._reset(fault)
            return
        if fault == "lost" and self._confirm(body):
            self._count(fault)
            return
        if fault == "late":
            self._count(fault)
            time.sleep(state.delay)
        if fault == "wrong" and body:
            self._count(fault)
            body = state.with_a_wrong_byte(body)
            fault = ""

        status, headers, answer = self._pass_on(body)
        if fault == "reset after":
            self._reset(fault)
            return
        self._answer(status, headers, answer, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815 (the names of http.server)

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.server_state.upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in NOT_PASSED_ON:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            headers = [(name, value) for name, value in response.getheaders() if name.lower() not in NOT_PASSED_ON]
            return response.status, headers, response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, fault: str) -> None:
        length = len(body)
        if body and fault == "wrong":
            body = self.server_state.with_a_wrong_byte(body)
            self._count(fault)
        if fault == "wrong key" and (other := self.server_state.with_a_wrong_key(body)) != body:
            body = other
            self._count(fault)
        if len(body) > 1 and fault == "short":
            body = body[: len(body) // 2]
            length = len(body)
            self._count(fault)

        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if len(body) > 1 and fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self._reset(fault)
        elif self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>the fault of a test</Message></Error>".encode()
        now = datetime.now(UTC) + (SKEW if code == "RequestTimeTooSkewed" else timedelta())
        headers = [("Date", format_datetime(now, usegmt=True)), ("Content-Type", "application/xml")]
        self._answer(status, headers, b"" if self.command == "HEAD" else body, "")

    def _confirm(self, body: bytes) -> bool:
        """Answer as after a successful write or deletion, if the request asks for one."""
        tag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        query = urlsplit(self.path).query
        if self.command == "PUT":
            self._answer(200, [("ETag", tag)], b"", "")
        elif self.command == "DELETE":
            self._answer(204, [], b"", "")
        elif self.command == "POST" and "delete" in query:
            self._answer(200, [], b"<DeleteResult></DeleteResult>", "")
        elif self.command == "POST" and "uploadId" in query:
            done = f"<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
            self._answer(200, [], done.encode(), "")
        else:
            return False
        return True

    def _reset(self, fault: str) -> None:
        self._count(fault)
        self.close_connection = True
        # The client gets a reset instead of a proper end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _count(self, fault: str) -> None:
        with self.server_state.lock:
            self.server_state.happened[fault] += 1

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the client is gone, or we reset the connection
            super().handle()

    def log_message(self, *_: object) -> None: ...
