"""Count the processors that this process may use, and limit the threads of its libraries to this number.

A container with a CPU limit still sees every processor of its node. Without our limit, libraries start one thread for
each processor, and the threads wait for each other when the kernel pauses the container.
"""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
# Folders below CGROUPS with the CPU limits: "" in version 2 of cgroups, "cpu" and "cpu,cpuacct" in version 1.
CONTROLLERS = ("", "cpu", "cpu,cpuacct")
# Libraries read these variables when they are loaded: OpenMP (PyTorch, pyarrow), MKL, OpenBLAS, OpenCV, numexpr.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "NUMEXPR_NUM_THREADS",
)


def count_processors(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Return how many processors this process may use.

    The result is the number that the operating system allows. If the container has a lower CPU limit, the result is
    this limit, rounded up: 1.5 gives 2.

    Args:
        cgroups: Folder in which the kernel shows the control groups, of version 1 or 2.
        own: The file that lists the control groups of this process.
    """
    available = len(os.sched_getaffinity(0))
    limits = [_limit_in(folder) for folder in _folders(cgroups, own)]
    return max(1, math.ceil(min([available, *limits])))


def limit_threads(processors: int | None = None) -> None:
    """Limit the threads of each library to the number of processors. A limit that is already lower is kept.

    Libraries that are loaded later, and child processes, read the limit from the environment.

    Args:
        processors: The number of processors. If it is None, `count_processors` counts them.
    """
    processors = processors or count_processors()
    if processors >= (os.cpu_count() or 1):
        return  # no limit is needed, because libraries start one thread for each processor of the machine

    for variable in THREAD_VARIABLES:
        given = os.environ.get(variable, "")
        os.environ[variable] = str(min(processors, int(given)) if given.isdecimal() else processors)

    _limit_loaded_libraries(processors)


def _limit_loaded_libraries(processors: int) -> None:
    """Limit the threads of the loaded libraries. We load no library for this, because some take seconds to load."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(min(processors, torch.get_num_threads()))

    opencv = sys.modules.get("cv2")
    if opencv is not None:
        opencv.setNumThreads(min(processors, opencv.getNumThreads()))

    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.set_cpu_count(min(processors, arrow.cpu_count()))

    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_info, threadpool_limits

        threads = max((pool["num_threads"] for pool in threadpool_info()), default=0)
        if threads > processors:
            threadpool_limits(processors)


def _folders(cgroups: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's control group and of all groups above it. The limits of all of them apply."""
    paths = {Path()}
    if own.exists():
        for line in own.read_text().splitlines():
            path = Path(line.split(":", 2)[-1].lstrip("/"))
            paths.update((path, *path.parents))

    for controller in CONTROLLERS:
        for path in paths:
            yield cgroups / controller / path


def _limit_in(folder: Path) -> float:
    """Return how many processors a control group allows, such as 0.8. Return infinity if the group has no limit."""
    try:
        both = folder / "cpu.max"
        if both.exists():
            quota, period = both.read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return math.inf

    unlimited = quota in ("max", "-1")
    return math.inf if unlimited else int(quota) / int(period)
