"""Serve a model over HTTP: `python served_http.py MODEL_FOLDER HOST PORT MODEL VERSION`.

MLflow's scoring server answers requests to `/invocations` in MLflow's own formats. Each answer also names the model and
its version. A guard checks each request before MLflow reads it. The guard refuses requests that could need too much
memory, and requests that are probably a mistake or an attack. The response to a refused request is a status from 400 to
499 and one sentence.

A registered model version contains its own code, under the same package names as this project. So this file does
not import the project, and runs as a script (see served_process.py).
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES = 32 * 2**20  # base64 of 24 MB of image files
# Many clients read our response only after they have sent their whole body. So we receive a body that is too large, but
# do not keep it. We stop after this many bytes.
MAX_DRAINED_BYTES = 2**30
MAX_CONNECTIONS = 32
REQUESTS_AT_ONCE = 2  # other requests wait, and their bodies are not read yet
MAX_SENTENCE_CHARACTERS = 500
# MLflow would also read Parquet, in which a few bytes can stand for many gigabytes.
CONTENT_TYPES = ("application/json", "text/csv")
ERROR = 400


class RefusedError(Exception):
    """The guard refuses the request. The arguments are the HTTP status and a sentence for the client."""


class Guard:
    """An ASGI application that checks each request before it passes the request to MLflow's application."""

    def __init__(self, app: Callable):
        self.app = app
        self.turns = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Check one request, and send the response."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return

        async with self.turns:
            answer = _Answer()
            try:
                body = await _read(scope, receive)
                await self.app(scope, _once(body), answer.receive)
            except RefusedError as refused:
                answer.refuse(*refused.args)
            except Exception as error:
                # MLflow's parsers raise errors of any kind if a request has an unexpected form. The model's own errors
                # do not arrive here, because they are MlflowExceptions, which MLflow answers itself.
                answer.refuse(ERROR, f"the request cannot be read: {type(error).__name__}: {error}")
            await answer.send(send)


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

    async def send(self, send: Send) -> None:
        if self.status >= ERROR:
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


async def _read(scope: Message, receive: Receive) -> bytes:
    """Return the body of a request, or raise RefusedError."""
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES:
        raise RefusedError(415, f"the content type is {kind or 'missing'}; send one of {', '.join(CONTENT_TYPES)}")

    body = bytearray()
    size = 0
    more = True
    while more and size <= MAX_DRAINED_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= MAX_BODY_BYTES:
            body += message.get("body", b"")
        more = message.get("more_body", False)
    if size > MAX_BODY_BYTES:
        raise RefusedError(
            413, f"the request is larger than {MAX_BODY_BYTES // 2**20} MB; send fewer or smaller images at once"
        )
    if kind == "application/json":
        _require_object(bytes(body))
    return bytes(body)


def _require_object(body: bytes) -> None:
    """Raise RefusedError if a body is not a JSON object."""
    try:
        value = json.loads(body)
    except RecursionError as error:
        raise RefusedError(ERROR, "the JSON is nested too deeply; send a flat list of images") from error
    except ValueError as error:
        raise RefusedError(
            ERROR, f'the request is not JSON: {error}; send {{"inputs": {{"image": [base64, …]}}}}'
        ) from error
    if not isinstance(value, dict):
        raise RefusedError(ERROR, 'the request is not a JSON object; send {"inputs": {"image": [base64, …]}}')


def _once(body: bytes) -> Receive:
    """Return an ASGI function `receive` that returns a body that was already read."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()  # the client sends no further message
        raise AssertionError

    return receive


class NamedModel:
    """A model for MLflow's application. Each of its answers names the model and its version."""

    def __init__(self, model: Any, name: str, version: str):
        self.metadata = model.metadata
        self._model = model
        self._names = {"model": name, "version": version}

    def predict(self, data: Any, params: dict | None = None) -> Any:
        """Return the model's answers, a pandas.DataFrame with one row per image.

        `needs_review` is None in all rows if the model was registered without a review band.
        """
        answers = self._model.predict(data, params=params)
        if "needs_review" not in answers:
            answers["needs_review"] = None
        return answers.assign(**self._names)


def main(folder: str, host: str, port: str, name: str, version: str) -> None:
    """Load the model from its folder, and answer requests until the process is ended."""
    import uvicorn
    from mlflow.pyfunc import load_model, scoring_server

    model: Any = NamedModel(load_model(folder), name, version)  # MLflow uses only its metadata and its `predict`
    app = Guard(scoring_server.init(model))
    uvicorn.run(app, host=host, port=int(port), limit_concurrency=MAX_CONNECTIONS, log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
