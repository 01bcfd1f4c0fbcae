"""The device that a network runs on, its precision, and the memory that its process keeps."""

import ctypes
from typing import Literal

from components.shared.config import Precision
from components.shared.errors import InputError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


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
