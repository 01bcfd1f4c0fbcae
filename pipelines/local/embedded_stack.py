"""What a cluster gives and a laptop lacks: an S3 server and an MLflow store, kept in one folder, the workdir.

Everything is bound to the loopback interface, uses keys made for the occasion and kept in memory only, and ends with
the process that started it.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from components.shared.errors import InputError
from components.shared.services.s3_client import OUTSIDE

BUCKET = "crack"
MLFLOW_ARTIFACTS = f"s3://{BUCKET}/mlflow"
LOOPBACK = "127.0.0.1"
DAY = 86_400  # seconds


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Hold the workdir, made where it is missing, for this process alone.

    Raises:
        InputError: The workdir is no folder, cannot be written, or another process holds it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = open(workdir / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(f"workdir {workdir}: {error.strerror}; choose another with --workdir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise InputError(
                f"workdir {workdir} is in use by process {lock.read().strip() or 'unknown'}; "
                "wait for its end or choose another with --workdir"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def guarded(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen]:
    """Run a command whose process group ends with this block, and with this process however it dies.

    Args:
        command: Program and arguments.
        log: File that its output is appended to.
        environment: All of its environment variables.
    """
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.local.guard", *command],
            stdin=subprocess.PIPE,  # closing it is the guard's signal
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the group in order
        )
    assert process.stdin
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


@contextlib.contextmanager
def embedded_stack(workdir: Path) -> Iterator[dict[str, str]]:
    """Serve the workdir's S3 storage; yield the environment in which it and the MLflow store are reached.

    Raises:
        InputError: rclone, whose S3 server this is, is not installed.
        RuntimeError: The server did not start.
    """
    folder = workdir / "s3"
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    access, secret = secrets.token_hex(10), secrets.token_hex(20)
    port = free_port()
    log = workdir / "s3.log"
    log.unlink(missing_ok=True)
    command = [_rclone(), "serve", "s3", "--config", "", "--addr", f"{LOOPBACK}:{port}"]
    command += ["--dir-cache-time", "1s"]  # 5 minutes would hide what a second server on the same folder writes
    command += ["--etag-hash", ""]  # none: all of an object would be read for it whenever it is listed
    command += ["--ignore-checksum"]  # half of the time of an upload; whoever reads shards and models verifies them
    keys = {"RCLONE_AUTH_KEY": f'"{access},{secret}"'}  # the command line would show them to every user
    with guarded([*command, str(folder)], log, {**os.environ, **keys}) as server:
        wait_for_port(port, server, log)
        yield _environment(f"http://{LOOPBACK}:{port}", access, secret, tracking_uri(workdir))


def _remove_leftovers(folder: Path) -> None:
    """Remove what uploads in parts left in rclone's temporary files when they were killed a day ago or earlier."""
    for path in folder.rglob(".rclone_temp_multipart_*"):
        if path.stat().st_mtime < time.time() - DAY:
            path.unlink(missing_ok=True)


def tracking_uri(workdir: Path) -> str:
    """Return the URI of the workdir's MLflow store."""
    return f"sqlite:///{workdir.resolve() / 'mlflow.db'}"


def _environment(endpoint: str, access: str, secret: str, tracking: str) -> dict[str, str]:
    # a profile, session token or run id of the user's own would lead the steps elsewhere
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MLFLOW_"))}
    inherited |= {f"{OUTSIDE}{key}": value for key, value in os.environ.items() if key.startswith("AWS_")}
    no_proxy = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), LOOPBACK]))
    return inherited | {
        "LOCAL_BUCKET": BUCKET,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # for MLflow's own clients; rclone knows Content-MD5 only
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "MLFLOW_TRACKING_URI": tracking,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONUNBUFFERED": "1",  # the log shows what a step says when it says it
    }


def prepare_mlflow(workdir: Path, experiment: str) -> None:
    """Create the MLflow store's schema and the experiment, before steps that would do so at the same time."""
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri(workdir))
    if client.get_experiment_by_name(experiment) is None:
        client.create_experiment(experiment, artifact_location=MLFLOW_ARTIFACTS)


def free_port() -> int:
    """Return a TCP port that nobody on the loopback interface listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def require_free(port: int) -> None:
    """Raise InputError where somebody listens on the loopback port already."""
    with socket.socket() as probe:
        if probe.connect_ex((LOOPBACK, port)) == 0:
            raise InputError(f"port {port} is taken; choose another with --port")


def wait_for_port(port: int, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    """Return once a guarded server answers on the loopback port.

    Raises:
        RuntimeError: It ended, or did not answer in time; the message holds its last words.
    """
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        time.sleep(0.05)
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    raise RuntimeError(f"the server on port {port} did not start: {last[0]} (see {log})")


def _rclone() -> str:
    beside_python = Path(sys.executable).parent
    found = shutil.which("rclone", path=str(beside_python)) or shutil.which("rclone")
    if not found:
        raise InputError("rclone, the local run's S3 server, is not installed; run `make setup`")
    return found
