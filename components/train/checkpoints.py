"""Checkpoints of an unfinished training, under `runs/<run key>/checkpoints/` in the store.

Each checkpoint is one object, which the store has either completely or not at all. Its name holds the steps done and
the sha256 of its content, so a change of any bit is noticed. The format is that of `torch.save`, with tensors and plain
values only. It is read with `weights_only`, which executes no code.
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
# The newest checkpoint, and the one before it in case the newest is damaged.
CHECKPOINTS_KEPT = 2
# A worker process listens to this signal instead of SIGTERM; see StopSignal.
FORWARDED_STOP = signal.SIGUSR1
_NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.pt")


class PreemptedError(RuntimeError):
    """The platform stopped the process. The training resumes from its checkpoint when the run is started again."""


class Checkpoints:
    """The checkpoints of one run key. A thread writes them, so that the device does not wait for the store."""

    def __init__(self, store: Store, key: str):
        self._store = store
        self._prefix = f"runs/{key}/checkpoints"
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._pending: Future[None] | None = None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Copy a state and write it in the background. If that fails, the training continues with a warning.

        Args:
            step: Optimiser steps done.
            state: Tensors on any device and plain values, nested. The caller may change it after the return.
        """
        self.wait()
        content = {"format": FORMAT, "step": step, **_copied(state)}
        self._pending = self._writer.submit(self._write, step, content)

    def wait(self) -> None:
        """Return when the last state given to `save` is in the store."""
        if self._pending is None:
            return
        try:
            self._pending.result()
        except Exception as error:  # no error of the store is worth losing the training
            warn(f"could not write a checkpoint; if the training is killed, it loses more steps: {error}")
        self._pending = None

    def _write(self, step: int, content: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile(suffix=".pt") as file:
            torch.save(content, file)
            file.flush()
            self._store.put_file(f"{self._prefix}/{step:09d}-{file_digest(file.name)}.pt", file.name)

        self._delete_all_but_the_newest(step)
        log.info("wrote a checkpoint after step %d", step)

    def _delete_all_but_the_newest(self, step: int) -> None:
        every_key = [key for key, _ in self._store.list(f"{self._prefix}/")]
        # Later checkpoints were damaged and are not used.
        usable = [key for key in every_key if Path(key).name[:9] <= f"{step:09d}"]
        self._store.delete(set(every_key) - set(usable[-CHECKPOINTS_KEPT:]))

    def newest(self) -> dict[str, Any] | None:
        """Return the newest state that is not damaged, or None. Each damaged checkpoint causes a warning."""
        for key, _ in reversed(self._store.list(f"{self._prefix}/")):
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "checkpoint.pt"
                self._store.get_file(key, path)
                try:
                    return read_checkpoint(path, Path(key).name)
                except InputError as error:
                    warn(f"{error}; the checkpoint before it is used")
        return None


def read_checkpoint(path: Path, name: str) -> dict[str, Any]:
    """Read a checkpoint and verify it.

    Args:
        path: The file.
        name: Its name in the store, `STEPS-SHA256.pt`.

    Raises:
        InputError: The name does not have that form, the file has another sha256, or the format is unknown.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise InputError(f"{name} is not the name of a checkpoint, STEPS-SHA256.pt; delete it")
    step, expected_digest = int(parts[1]), parts[2]

    found_digest = file_digest(path)
    if found_digest != expected_digest:
        raise InputError(f"checkpoint {name} is damaged: its sha256 is {found_digest}")

    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["format"] != FORMAT or state["step"] != step:
        raise InputError(
            f"checkpoint {name} has format {state['format']} and step {state['step']}; this code reads format {FORMAT}"
        )
    return state


def _copied(value: Any) -> Any:
    """A copy of nested values with its tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(inner) for inner in value]
    return value


class StopSignal:
    """Notes the first SIGTERM; a second one ends the process at once.

    In a training with several processes, each process listens to `FORWARDED_STOP` instead, which the parent process
    sends. If someone sends SIGTERM to the whole process group, it reaches both the parent and its children. A child
    that listened to SIGTERM would then get the signal twice, and end at once.

    Args:
        forwarded: Whether this process is one of several.
    """

    def __init__(self, forwarded: bool) -> None:
        self.received = False
        self._number = FORWARDED_STOP if forwarded else signal.SIGTERM

    @contextmanager
    def watched(self) -> Iterator["StopSignal"]:
        """Note the signal, inside the `with` block, instead of ending the process."""
        previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(self._number, self._note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _note(self, *_: Any) -> None:
        self.received = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
