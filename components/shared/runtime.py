"""A step's surroundings: its errors, its progress events and its seeds.

A step writes events as JSON lines to the file named by CRACK_EVENTS (the local run draws its progress from it) and to
standard output. KFP tells an exit handler nothing of a failure but its existence, so a failing step leaves its name
and message under `runs/<job>/errors/` in the store, where `notify` reads them.
"""

import ctypes
import hashlib
import json
import logging
import os
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from components.shared.config import Precision

log = logging.getLogger("crack")

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


class InputError(ValueError):
    """Something the user gave is wrong; the message names it, its value and the way out. Ends the run with exit 2."""


def emit(event: str, **fields: Any) -> None:
    """Append one event to the file named by CRACK_EVENTS, if set; a write is one line, so steps may share it."""
    path = os.environ.get("CRACK_EVENTS")
    if path:
        line = json.dumps({"event": event, "step": _current_step, "time": time.time(), **fields})
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def progress(done: int, total: int, note: str = "") -> None:
    """Report that `done` of `total` units of the running step's work are finished."""
    emit("progress", done=done, total=total, note=note)


def metric(name: str, value: float) -> None:
    """Report a number worth a person's glance while the step runs."""
    emit("metric", name=name, value=float(value))


def warn(message: str) -> None:
    """Tell the run's user of something that did not stop it; a local run repeats it at its end."""
    log.warning("%s", message)
    emit("warning", message=message)


_current_step = ""


def join_step(name: str) -> None:
    """Log and emit events in a step's name; for the processes that a step starts."""
    global _current_step
    _current_step = name
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")


@contextmanager
def step(name: str, job: str, store: str) -> Iterator[None]:
    """Frame a step: log and emit its start, end and failure; keep a failure's cause in the store, then raise it on.

    Args:
        name: Step as people name it, such as "train cnn".
        job: The pipeline job's id.
        store: The storage root, `s3://BUCKET/PREFIX`.
    """
    join_step(name)
    started = time.perf_counter()
    emit("started")
    try:
        yield
    except BaseException as error:
        cause = {
            "step": name,
            "kind": "input" if isinstance(error, InputError) else "crash",
            "type": type(error).__name__,
            "message": _first_line(error) if not isinstance(error, InputError) else str(error),
        }
        emit(
            "failed", **{key: value for key, value in cause.items() if key != "step"}, traceback=traceback.format_exc()
        )
        _keep_failure(cause, job, store)
        raise
    emit("done", seconds=round(time.perf_counter() - started, 3))


def _keep_failure(cause: dict[str, str], job: str, store: str) -> None:
    from components.shared.storage import Store

    try:
        key = f"runs/{job}/errors/{re.sub('[^a-z0-9]+', '-', cause['step'].lower())}.json"
        Store(store).put_bytes(key, json.dumps(cause).encode())
    except Exception as error:  # the step's own error is what the user must see
        log.warning("could not store the cause of the failure: %s", error)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def digest(*parts: Any) -> str:
    """sha256 of the parts' canonical JSON, as 64 hex characters; equal for equal parts on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def pick_device(require_gpu: bool = False) -> str:
    """Return "cuda" where PyTorch sees a GPU, else "cpu"; the process then keeps the memory that it frees.

    Raises:
        InputError: A GPU is required and none is there.
    """
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if require_gpu:
        raise InputError(
            "no GPU is visible to PyTorch, and require_gpu is set; check the node's accelerator and driver, or unset it"
        )
    _keep_freed_memory()
    return "cpu"


def _keep_freed_memory() -> None:
    """Have what this process frees stay at hand for the next tensor.

    glibc gives large blocks back to the system at once and gets them anew page by page: tens of thousands of page
    faults a batch, 4 to 16 % of a training's time on a CPU, and 15 % of a prediction's.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def count_devices(wanted: int | Literal["auto"]) -> int:
    """Resolve "auto" to every GPU that PyTorch sees, or to one process on a machine without any.

    Raises:
        InputError: More GPUs are wanted than there are.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return max(1, gpus)
    if gpus and wanted > gpus:
        raise InputError(f"devices is {wanted}, but only {gpus} GPUs are visible; lower it, or use auto")
    return wanted


def pick_precision(wanted: Precision, device: str) -> Literal["bf16", "fp32"]:
    """Resolve "auto" to "bf16" where the device computes in bfloat16 by itself, else to "fp32"."""
    import torch

    if wanted != "auto":
        return wanted
    native = torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"
