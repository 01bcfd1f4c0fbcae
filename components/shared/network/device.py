"""Choose the device and the precision of a network. On a CPU, keep freed memory in the process for later tensors."""

import ctypes
from typing import Literal

from components.shared.config import Precision
from components.shared.errors import InputError

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def pick_device(require_gpu: bool = False) -> str:
    """Return "cuda" if PyTorch sees a GPU, else "cpu".

    On a CPU, also stop the C library from returning freed memory to the operating system.

    Raises:
        InputError: A GPU is required, and PyTorch sees none.
    """
    import torch

    if torch.cuda.is_available():
        return "cuda"

    if require_gpu:
        raise InputError(
            "require_gpu is true, but PyTorch sees no GPU; check the node's accelerator and driver, or set "
            "require_gpu to false"
        )

    _keep_freed_memory()
    return "cpu"


def _keep_freed_memory() -> None:
    """Keep freed memory in this process, so that later tensors can use it.

    By default, the C library glibc returns large freed blocks to the operating system immediately. The next tensors
    then need new memory, page by page. This causes tens of thousands of page faults per batch. On a CPU, the page
    faults took 4 to 16 % of the time of a training and 15 % of the time of a prediction.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def count_devices(wanted: int | Literal["auto"]) -> int:
    """Return the number of devices to use. "auto" gives the number of GPUs that PyTorch sees, or 1 without a GPU.

    Raises:
        InputError: More GPUs are wanted than PyTorch sees.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return max(1, gpus)
    if gpus and wanted > gpus:
        raise InputError(f"devices is {wanted}, but PyTorch sees only {gpus} GPUs; lower devices, or set it to auto")
    return wanted


def pick_precision(wanted: Precision, device: str) -> Literal["bf16", "fp32"]:
    """Return the precision to use. "auto" gives "bf16" if the device has hardware for bfloat16, else "fp32"."""
    import torch

    if wanted != "auto":
        return wanted
    native = torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"
