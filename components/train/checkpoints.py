"""Write and read checkpoints of an unfinished training. They are in the store, under `runs/<run key>/checkpoints/`.

Each checkpoint is one object, so the store never has an incomplete checkpoint. The object's name contains the number of
finished steps and the sha256 of the content. The sha256 shows whether the content has changed. A checkpoint contains
only tensors and plain values. `torch.load` reads it with `weights_only`, so a checkpoint cannot execute code.
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
# We keep the newest checkpoint. We also keep the checkpoint before it, in case the newest is damaged.
CHECKPOINTS_KEPT = 2
# In a training with several processes, each child process listens to this signal instead of SIGTERM (see StopSignal).
FORWARDED_STOP = signal.SIGUSR1
_NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.pt")


class PreemptedError(RuntimeError):
    """The platform stopped the process. The training resumes from its checkpoint when the run is started again."""


class Checkpoints:
    """The checkpoints of one training. A thread writes them, so the device does not wait for the store."""

    def __init__(self, store: Store, key: str):
        self._store = store
        self._prefix = f"runs/{key}/checkpoints"
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._pending: Future[None] | None = None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Copy a state, and write it in the background. If writing fails, the training continues with a warning.

        Args:
            step: Number of finished optimiser steps.
            state: Nested dicts and lists of tensors and plain values. The tensors can be on any device. The caller may
                change the state after this call.
        """
        self.wait()
        content = {"format": FORMAT, "step": step, **_copied(state)}
        self._pending = self._writer.submit(self._write, step, content)

    def wait(self) -> None:
        """Wait until the checkpoint of the last `save` is in the store, or until writing it has failed."""
        if self._pending is None:
            return
        try:
            self._pending.result()
        except Exception as error:  # a failed write must not end the training
            warn(f"could not write a checkpoint: {error}. If the training is killed now, it must repeat more steps")
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
        # Checkpoints of later steps are damaged, because the training did not resume from them.
        usable = [key for key in every_key if Path(key).name[:9] <= f"{step:09d}"]
        self._store.delete(set(every_key) - set(usable[-CHECKPOINTS_KEPT:]))

    def newest(self) -> dict[str, Any] | None:
        """Return the newest state that is not damaged. Return None if there is none. Warn about damaged checkpoints."""
        for key, _ in reversed(self._store.list(f"{self._prefix}/")):
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "checkpoint.pt"
                name = Path(key).name
                parts = _NAME.fullmatch(name)
                try:
                    self._store.get_file(key, path, parts[2] if parts else None)
                    return read_checkpoint(path, name)
                except InputError as error:
                    warn(
                        f"{error}. The training resumes from the previous checkpoint, or starts again if there is none"
                    )
        return None


def read_checkpoint(path: Path, name: str) -> dict[str, Any]:
    """Read a checkpoint, verify it, and return the state.

    Args:
        path: The file.
        name: The name of the checkpoint in the store, `STEPS-SHA256.pt`.

    Raises:
        InputError: The name is not `STEPS-SHA256.pt`, the sha256 or the step in the name does not match the content, or
            the format is unknown.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise InputError(f"{name} is not the name of a checkpoint (STEPS-SHA256.pt); delete the file")
    step, expected_digest = int(parts[1]), parts[2]

    found_digest = file_digest(path)
    if found_digest != expected_digest:
        raise InputError(f"checkpoint {name} is damaged: the sha256 of its content is {found_digest}")

    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["format"] != FORMAT:
        raise InputError(f"checkpoint {name} has format {state['format']}, but this code reads format {FORMAT} only")
    if state["step"] != step:
        raise InputError(
            f"checkpoint {name} is damaged: its name says step {step}, but its content says {state['step']}"
        )
    return state


def _copied(value: Any) -> Any:
    """Return a copy of nested dicts and lists of values, with all tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(inner) for inner in value]
    return value


class StopSignal:
    """Records the first SIGTERM, so that a checkpoint can be written. A second SIGTERM ends the process at once.

    In a training with several processes, only the parent process listens to SIGTERM. It sends FORWARDED_STOP to its
    child processes, and they listen only to this signal. SIGTERM is often sent to the whole process group. If a child
    listened to SIGTERM too, it would get two signals: one as a member of the group, and one from the parent.

    Args:
        forwarded: True if this process is one of several child processes.
    """

    def __init__(self, forwarded: bool) -> None:
        self.received = False
        self._number = FORWARDED_STOP if forwarded else signal.SIGTERM

    @contextmanager
    def watched(self) -> Iterator["StopSignal"]:
        """Inside the `with` block, record the signal in `received`. The first signal does not end the process."""
        previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(self._number, self._note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _note(self, *_: Any) -> None:
        self.received = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
