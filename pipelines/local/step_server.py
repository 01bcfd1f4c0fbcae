"""Load the large libraries once, and start each step of a local run as a fork: `python -m pipelines.local.step_server`.

On a cluster, each step is a container that loads its own libraries. PyTorch, MLflow and Lightning take ten to twenty
seconds to load, so the twenty steps of a local run would spend minutes on loading. This server loads the libraries
while the first steps run. KFP starts `pipelines.local.step_client` as each step's process. The client passes its
arguments, environment and open files to the server, and waits for the exit status of the fork.

A fork cannot use a GPU that its parent process has used. So machines with a GPU do not use the server.
"""

import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# Files that the drivers of NVIDIA and AMD create.
GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
ADDRESS = "CRACK_STEP_SERVER"  # the variable that tells the client the path of the server's socket
STEP_PROCESS = "components.step_process"
STEP_CLIENT = "pipelines.local.step_client"
# The large libraries, in the order in which the steps need them.
LIBRARIES = (
    "pandas",
    "pyarrow.parquet",
    "boto3",
    "kfp.dsl.executor",
    "cv2",
    "mlflow",
    "torch",
    "torchvision",
    "timm",
    "pytorch_lightning",
    "components.train.quiet_albumentations",
    "sklearn.linear_model",
    "scipy.stats",
    "pytorch_grad_cam",
    "shap",
)
LARGEST_MESSAGE = 2**20
SECONDS_TO_START = 60
FORKING = multiprocessing.get_context("fork")


def can_serve() -> bool:
    """Return whether steps can be forks on this machine: only on Linux, and only without a GPU."""
    return sys.platform == "linux" and not any(device.exists() for device in GPU_DEVICES)


@contextlib.contextmanager
def step_server(folder: Path, libraries: Sequence[str] = LIBRARIES) -> Iterator[None]:
    """Run a server for the steps that start in the `with` block.

    Args:
        folder: Folder for the server's socket. Its path must be short.
        libraries: Names of the modules to load, in this order.

    Raises:
        RuntimeError: The server did not start.
    """
    address = folder / "steps"
    server = subprocess.Popen([sys.executable, "-m", "pipelines.local.step_server", str(address), *libraries])
    try:
        _wait_for(address, server)
        os.environ[ADDRESS] = str(address)
        yield
    finally:
        os.environ.pop(ADDRESS, None)
        server.terminate()
        server.wait()


def _wait_for(address: Path, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not address.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the server that starts the steps did not start; its error is in the log above")
        time.sleep(0.02)


def serve(listener: socket.socket, libraries: list[str]) -> None:
    """Start one step after another.

    Args:
        listener: The server's socket.
        libraries: Names of the modules to load when no step waits to be started.
    """
    while True:
        while libraries and not select.select([listener], [], [], 0)[0]:
            _load_next(libraries)

        connection, _ = listener.accept()
        message, files, _, _ = socket.recv_fds(connection, LARGEST_MESSAGE, 3)
        step = FORKING.Process(target=_run_step, args=(json.loads(message), files))
        step.start()
        for file in files:
            os.close(file)

        while libraries and step.is_alive():
            _load_next(libraries)
        step.join()
        connection.sendall(str(step.exitcode).encode())
        connection.close()


def _load_next(libraries: list[str]) -> None:
    """Load a library, and hide it from the garbage collector.

    The collector is off during the import, because an import leaves almost no garbage. Afterwards, the collector skips
    the library's objects. If it visited these objects in a fork, it would write to them, and the kernel would copy
    their memory.
    """
    gc.disable()
    importlib.import_module(libraries.pop(0))
    gc.freeze()
    gc.enable()


def _run_step(request: dict, files: list[int]) -> None:
    """Run a step with the arguments, the environment, and the standard input, output and error of its client."""
    for standard, file in enumerate(files):
        os.dup2(file, standard)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["arguments"]

    from components import step_process

    try:
        step_process.main()
    finally:
        atexit._run_exitfuncs()  # forks of multiprocessing do this themselves only from Python 3.13 on


def main() -> None:
    """Serve on the socket that the first argument names. The other arguments name the libraries to load."""
    os.environ["_KFP_RUNTIME"] = "true"  # as in components/step_process.py
    address, *libraries = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as listener:
        # The socket gets its name when it listens, so a client that finds the name can connect.
        listener.bind(f"{address}.new")
        listener.listen()
        os.rename(f"{address}.new", address)
        serve(listener, libraries)


if __name__ == "__main__":
    main()
