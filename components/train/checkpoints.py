"""Checkpoints of an unfinished training, under `runs/<run key>/checkpoints/` in the store.

Each is one object, written whole or not at all, whose name holds the steps done and the sha256 of its content: no bit
of it can change unseen. Its format is that of `torch.save` with nothing but tensors and plain values, read back with
`weights_only`, which executes no code.
"""

import re
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from components.shared.errors import InputError
from components.shared.events import log, warn
from components.shared.hashing import file_digest
from components.shared.services.store import Store

FORMAT = 1
KEPT = 2  # the newest, and the one before it, should the newest turn out damaged
PASSED_ON = signal.SIGUSR1
_NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.pt")


class PreemptedError(RuntimeError):
    """The platform took the machine away; the training goes on from its checkpoint when the run is started again."""


class Checkpoints:
    """The checkpoints of one run key. Writing happens in a thread, so that the device does not wait for the store."""

    def __init__(self, store: Store, key: str):
        self._store = store
        self._prefix = f"runs/{key}/checkpoints"
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._pending: Future[None] | None = None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keep a state; it may be changed as soon as this returns. A failure is a warning: the training goes on.

        Args:
            step: Optimiser steps done.
            state: Tensors on any device and plain values, nested.
        """
        self.wait()
        self._pending = self._writer.submit(self._write, step, {"format": FORMAT, "step": step, **_copied(state)})

    def wait(self) -> None:
        """Return when the last state given to `save` is in the store."""
        if self._pending is not None:
            try:
                self._pending.result()
            except Exception as error:  # whatever it is, the training is worth more
                warn(f"a checkpoint could not be written, so more is lost if the training is killed: {error}")
            self._pending = None

    def _write(self, step: int, state: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile(suffix=".pt") as file:
            torch.save(state, file)
            file.flush()
            self._store.put_file(f"{self._prefix}/{step:09d}-{file_digest(file.name)}.pt", file.name)
        kept = [key for key, _ in self._store.list(f"{self._prefix}/")]
        reached = [key for key in kept if Path(key).name <= f"{step:09d}~"]  # one from beyond was damaged: none uses it
        self._store.delete(set(kept) - set(reached[-KEPT:]))
        log.info("kept a checkpoint after step %d", step)

    def newest(self) -> dict[str, Any] | None:
        """Return the newest state that is whole, or None; damaged ones are passed over with a warning."""
        for key, _ in reversed(self._store.list(f"{self._prefix}/")):
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "checkpoint.pt"
                self._store.get_file(key, path)
                try:
                    return read_checkpoint(path, Path(key).name)
                except InputError as error:
                    warn(f"{error}; the one before it is used")
        return None


def read_checkpoint(path: Path, name: str) -> dict[str, Any]:
    """Read a checkpoint, verified.

    Args:
        path: The file.
        name: Its name in the store, `STEPS-SHA256.pt`.

    Raises:
        InputError: The name is no checkpoint's, the content is not what the name says, or of another format.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise InputError(f"{name} is not the name of a checkpoint, STEPS-SHA256.pt")
    if (found := file_digest(path)) != parts[2]:
        raise InputError(f"checkpoint {name} is damaged: its sha256 is {found}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["format"] != FORMAT or state["step"] != int(parts[1]):
        raise InputError(
            f"checkpoint {name} is of format {state['format']}, step {state['step']}; format {FORMAT} is read"
        )
    return state


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(inner) for inner in value]
    return value


class StopSignal:
    """Whether SIGTERM has come; a second one ends the process at once.

    One of several processes listens to `PASSED_ON` instead, which the process that started them sends: a SIGTERM to the
    whole group reaches them too, and would be the second one.

    Args:
        passed_on: Whether this is one of several processes.
    """

    def __init__(self, passed_on: bool) -> None:
        self.came = False
        self._number = PASSED_ON if passed_on else signal.SIGTERM

    @contextmanager
    def watched(self) -> Iterator["StopSignal"]:
        """Note the signal instead of dying of it."""
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(self._number, self._note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, *_: Any) -> None:
        self.came = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
