"""Serve a model over HTTP: `python served_http.py MODEL_FOLDER HOST PORT [MODEL VERSION]`.

MLflow's scoring server answers requests to `/invocations` in MLflow's own formats. Each answer also names the model and
its version. A guard reads each request, and gives MLflow only the list of its images. The guard refuses requests that
could need too much memory or time, and requests that are probably a mistake or an attack. The response to a refused
request is one sentence, with a status from 400 to 499, or 503 with Retry-After if the server is busy.

The server starts to listen after the model has classified a test image. Then `/ready` answers 200. `/metrics` has the
metrics for Prometheus, and standard output has one line of JSON per classified image.

A registered model version contains its own copy of this project's code, with the same package names. The process must
import this copy, not the project. So this file imports nothing from the project, and runs as a script.
"""

import asyncio
import contextlib
import json
import runpy
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REQUESTS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("served_request.py"))))
RefusedError = REQUESTS.RefusedError

MB = 2**20
MAX_HELD_BYTES = 256 * MB  # sum of the bodies of all requests that are being read, are waiting or are being answered
MAX_CONNECTIONS = 256
REQUESTS_AT_ONCE = 2  # requests that are answered at the same time; other requests wait until one is finished
MAX_WAITING = 32  # complete requests that wait; with more, a client would get its answer sooner from another server
RETRY_AFTER_SECONDS = 5
# A client that sends nothing, or a byte now and then, loses its connection.
SECONDS_PER_MB = 20.0  # for each MB of a body
SECONDS_PER_REQUEST = 10.0  # for the line and the headers of a request
MAX_SENTENCE_CHARACTERS = 500
AGAIN = "send this request again later"
JSON_HEADERS = [(b"content-type", b"application/json")]
TIMEOUT = 408
BUSY = 503


class Guard:
    """An ASGI application that checks each request before it passes the request to MLflow's application.

    A request takes its turn only when its whole body has arrived. So slow clients do not block other clients.
    `count_request` is called with the status of each answered request, and with the seconds that the request took.
    """

    def __init__(self, app: Callable, count_request: Callable[[int, float], None]):
        self.app = app
        self.count_request = count_request
        self.turns = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self.waiting = 0
        self.held_bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Check one request, and send the response."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return

        started = time.monotonic()
        answer = _Answer()
        body = bytearray()
        try:
            kind = REQUESTS.content_type(scope)
            REQUESTS.check_announced(scope, MAX_HELD_BYTES)
            await self._read(receive, body)
            async with self._turn():
                images = await asyncio.to_thread(REQUESTS.images_of, body, kind)
                # In its other forms, MLflow would give each short cell as much memory as the longest cell.
                request = json.dumps({"dataframe_split": {"columns": ["image"], "data": images}}).encode()
                await self.app({**scope, "headers": JSON_HEADERS}, _once(request), answer.receive)
        except RefusedError as refused:
            answer.refuse(*refused.args)
        except Exception as error:
            # Parsers raise errors of any kind if a request has an unexpected form. The model's own errors do not arrive
            # here, because they are MlflowExceptions, which MLflow answers itself.
            answer.refuse(REQUESTS.ERROR, f"the request cannot be read: {type(error).__name__}: {error}")
        finally:
            self.held_bytes -= len(body)
        self.count_request(answer.status, time.monotonic() - started)
        await answer.send(send)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until the request may be answered. Raise RefusedError if too many other requests wait."""
        if self.turns.locked() and self.waiting >= MAX_WAITING:
            raise RefusedError(BUSY, f"{self.waiting} other requests wait for an answer; {AGAIN}")
        self.waiting += 1
        try:
            await self.turns.acquire()
        finally:
            self.waiting -= 1

        try:
            yield
        finally:
            self.turns.release()

    async def _read(self, receive: Receive, body: bytearray) -> None:
        """Append the body of a request to `body`, or raise RefusedError.

        Many clients read our response only after they have sent their whole body. So we also receive the rest of a
        refused body. We do not keep this rest, and we do not extend the time limit for it.
        """
        refused: Exception | None = None
        more = True
        try:
            async with asyncio.timeout(SECONDS_PER_MB) as deadline:
                while more:
                    message = await receive()
                    chunk = message.get("body", b"")
                    more = message.get("more_body", False)
                    refused = refused or self._refusal(body, chunk)
                    if refused:
                        continue

                    if len(body) // MB < (len(body) + len(chunk)) // MB:
                        deadline.reschedule(asyncio.get_running_loop().time() + SECONDS_PER_MB)
                    body += chunk
                    self.held_bytes += len(chunk)
        except TimeoutError:
            refused = refused or RefusedError(
                TIMEOUT,
                f"the body of the request did not arrive in time: {len(body):,} bytes arrived, and the next MB took "
                f"longer than {SECONDS_PER_MB:g} seconds; send it again over a faster connection",
            )
        if refused:
            raise refused

    def _refusal(self, body: bytearray, chunk: bytes) -> Exception | None:
        """Return why a body may not grow by a chunk. Return None if it may grow."""
        if len(body) + len(chunk) > REQUESTS.MAX_BODY_BYTES:
            return RefusedError(REQUESTS.TOO_LARGE, REQUESTS.TOO_LARGE_SENTENCE)
        if self.held_bytes + len(chunk) > MAX_HELD_BYTES:
            return RefusedError(BUSY, f"the server is reading too many other requests; {AGAIN}")
        return None


class _Answer:
    """The response of MLflow's application. It is sent only when it is complete."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def receive(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = message["headers"]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    def refuse(self, status: int, sentence: str) -> None:
        self.status = status
        self.body = json.dumps({"message": sentence[:MAX_SENTENCE_CHARACTERS]}).encode()
        self.headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self.body)).encode())]
        if status == TIMEOUT:
            self.headers.append((b"connection", b"close"))
        elif status == BUSY:
            self.headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))

    async def send(self, send: Send) -> None:
        if self.status >= REQUESTS.ERROR:
            self.refuse(self.status, _sentence(self.body))
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def _sentence(body: bytes) -> str:
    """Return the cause from an error message of MLflow, without the traceback and the copy of the request."""
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["message"]
    before, _, cause = text.rpartition("Error: ")
    return cause if before else text.partition("\n")[0]


def _once(body: bytes) -> Receive:
    """Return an ASGI function `receive` for a body that was already read."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()  # the client sends no further message
        raise AssertionError

    return receive


class Connection(H11Protocol):
    """A connection that ends if the client does not send a new request in time.

    uvicorn ends a connection that is silent after a response. It does not end a connection in three other cases: the
    first request never arrives, the headers arrive slowly, or the client does not read the response.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._expect_request()

    def on_response_complete(self) -> None:
        """Start to wait for the next request."""
        self._expect_request()
        super().on_response_complete()

    def _expect_request(self) -> None:
        self.loop.call_later(SECONDS_PER_REQUEST, self._end_if_last, self.cycle)

    def _end_if_last(self, request: RequestResponseCycle | None) -> None:
        """End the connection if no new request has come since `request`, which is already answered."""
        if self.cycle is request:
            self.transport.abort()


def server(app: Callable, host: str, port: int, count_request: Callable[[int, float], None]) -> uvicorn.Server:
    """Return the HTTP server of an application behind the guard. It does not listen yet."""
    return uvicorn.Server(
        uvicorn.Config(
            Guard(app, count_request),
            host=host,
            port=port,
            http=Connection,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            log_level="warning",
        )
    )


def main(folder: str, host: str, port: str, *names: str) -> None:
    """Load the model from its folder, and answer requests until the process is ended.

    Args:
        folder: Folder of a model, as MLflow stores it.
        host: Address to listen on.
        port: Port to listen on.
        names: Name and version of the model. Without them, the folder must be of a registered version.
    """
    from fastapi import Response
    from mlflow.pyfunc import load_model, scoring_server

    beside = runpy.run_path(str(Path(__file__).with_name("served_answers.py")))
    name, version = names or beside["name_and_version"](folder)
    named = beside["NamedModel"](load_model(folder), name, version)
    beside["require_answer"](named)

    metrics = beside["Metrics"](name, version)
    app = scoring_server.init(beside["ObservedModel"](named, metrics))
    app.get("/ready")(lambda: {"model": name, "version": version})
    app.get("/metrics")(lambda: Response(metrics.text(), media_type=metrics.content_type))
    server(app, host, int(port), metrics.count_request).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
