"""Start the S3 server of local runs, and prepare their MLflow store. The workdir contains the files of both.

On a cluster, S3 and MLflow are services. Here, the S3 server listens on the loopback interface only. Its access keys
are new at every start and are never written to a file. The server ends when the process that started it ends.
"""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from components.shared.errors import InputError
from components.shared.services.s3_client import OUTSIDE

BUCKET = "crack"
MLFLOW_ARTIFACTS = f"s3://{BUCKET}/mlflow"
LOOPBACK = "127.0.0.1"
SECONDS_PER_DAY = 86_400

# The file of the MLflow store in the workdir, and the name of the file while the store is being created.
DATABASE = "mlflow.db"
UNFINISHED_DATABASE = "mlflow-unfinished.db"
# Name of a table -> condition. A store is complete if one of these tables has a row for which the condition is true. We
# know this because the experiment is created last.
ROWS_OF_A_FINISHED_STORE = {"experiments": "name != 'Default'", "runs": "true", "registered_models": "true"}

# Variables of the caller's environment with these prefixes are not passed on. With them, a step might use other
# services, or the S3 server might work differently.
NOT_INHERITED = ("AWS_", "MLFLOW_", "RCLONE_")


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Lock the workdir for this process. Create the folder if it does not exist.

    If the folder is new, and nothing is in it at the end of the `with` block, it is removed again.

    Raises:
        InputError: The workdir is not a folder, cannot be written, or another process has locked it. Or its path
            contains a question mark or a percent sign.
    """
    _require_plain(workdir)
    path = workdir / ".lock"
    lock = FileLock(path)
    new_folders = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout as error:
        holder = path.read_text(encoding="utf-8").strip() or "unknown"
        raise InputError(
            f"workdir {workdir} is in use by process {holder}; wait until it ends, or choose another with --workdir"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"workdir {workdir} is not a folder; choose another with --workdir") from error
    except OSError as error:
        raise InputError(f"workdir {workdir}: {error.strerror}; choose another with --workdir") from error

    try:
        path.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        if new_folders and os.listdir(workdir) == [path.name]:
            path.unlink()
            _remove_empty(new_folders)
        lock.release()


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders in order, until one is not empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextlib.contextmanager
def guarded(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen]:
    """Run a command. Its process group ends with the `with` block, and also if this process is killed.

    Args:
        command: Program and arguments.
        log: File to which the output of the command is appended.
        environment: All environment variables of the command.

    Yields:
        The process of the guard. Its exit status is the exit status of the command.
    """
    with open(log, "ab") as output:
        process = subprocess.Popen(
            # With -P, a file of the current folder is not imported instead of a library.
            [sys.executable, "-P", "-m", "pipelines.local.guard", *command],
            stdin=subprocess.PIPE,  # the guard ends the command when this pipe closes
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C then reaches this process only, and this process ends the command
        )

    assert process.stdin
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


@contextlib.contextmanager
def embedded_stack(workdir: Path) -> Iterator[dict[str, str]]:
    """Serve the workdir's S3 storage.

    Yields:
        All environment variables for a process that uses this storage and the workdir's MLflow store.

    Raises:
        InputError: rclone, the program of the S3 server, is not installed.
        RuntimeError: The server did not start.
    """
    folder = workdir / "s3"
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    log = workdir / "s3.log"
    log.unlink(missing_ok=True)

    port = free_port()
    command = [
        _rclone(),
        *("serve", "s3", "--config", "", "--addr", f"{LOOPBACK}:{port}"),
        # If a second server writes into the same folder, this server notices it after this time, not after 5 minutes.
        *("--dir-cache-time", "1s"),
        # We switch ETags off. To compute them, rclone would read every object of a listing completely.
        *("--etag-hash", ""),
        # Without checksums, an upload takes half the time. The programs that read shards and models verify the digests.
        "--ignore-checksum",
        str(folder),
    ]

    access_key = secrets.token_hex(10)
    secret_key = secrets.token_hex(20)
    environment = _environment(f"http://{LOOPBACK}:{port}", access_key, secret_key, tracking_uri(workdir))
    # The keys are not an argument, because every user of the machine can see the arguments of a process.
    server_environment = environment | {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}
    with guarded(command, log, server_environment) as server:
        wait_for_port(port, server, log)
        yield environment


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of multipart uploads that were killed at least a day ago."""
    yesterday = time.time() - SECONDS_PER_DAY
    for path in folder.rglob(".rclone_temp_multipart_*"):
        if path.stat().st_mtime < yesterday:
            path.unlink(missing_ok=True)


def tracking_uri(workdir: Path) -> str:
    """Return the URI of the workdir's MLflow store."""
    return _sqlite_uri(workdir / DATABASE)


def _sqlite_uri(database: Path) -> str:
    _require_plain(database.parent)
    return f"sqlite:///{database.resolve()}"


def _require_plain(workdir: Path) -> None:
    """Raise InputError if the path has a character with which the URI of its database means another file.

    SQLAlchemy ends the path at a question mark, and decodes %41. MLflow creates the folder of the URI without decoding
    it. So neither a plain nor an encoded URI leads both to the workdir.
    """
    path = str(workdir.resolve())
    if "?" in path or "%" in path:
        raise InputError(f"workdir {path} contains ? or %, which MLflow's database cannot have; choose another path")


def _environment(endpoint: str, access_key: str, secret_key: str, tracking: str) -> dict[str, str]:
    inherited = {}
    for key, value in os.environ.items():
        if not key.startswith(NOT_INHERITED):
            inherited[key] = value
        if key.startswith("AWS_"):
            inherited[f"{OUTSIDE}{key}"] = value  # data sources may be in the user's own buckets

    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    no_proxy = f"{no_proxy},{LOOPBACK}" if no_proxy else LOOPBACK
    return inherited | {
        "LOCAL_BUCKET": BUCKET,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # MLflow's own S3 clients need these two settings, because rclone verifies only Content-MD5.
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "MLFLOW_TRACKING_URI": tracking,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONSAFEPATH": "1",  # `python -m` must not import a file of the current folder instead of a library
        "PYTHONUNBUFFERED": "1",  # a line appears in the log as soon as a step prints it
        "PYTHONUTF8": "1",  # the steps write UTF-8, even if the terminal has another encoding
    }


def holds_mlflow_store(workdir: Path) -> bool:
    """Return whether the workdir has a complete MLflow store.

    Raises:
        InputError: The store's file cannot be read, is not a database, or is damaged.
    """
    database = workdir / DATABASE
    if not database.exists():
        return False

    try:
        # We open the file for writing, so that SQLite can roll back an unfinished transaction of a killed process.
        with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table, condition in ROWS_OF_A_FINISHED_STORE.items():
                if table in tables and connection.execute(f"SELECT 1 FROM {table} WHERE {condition}").fetchone():
                    return True
    except sqlite3.OperationalError as error:
        raise InputError(f"{database} cannot be read: {error}; end the process that uses it, then run again") from error
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{database} is damaged: {error}; move the file away, run again, and restore the models with "
            "`crack-pipeline registry import`"
        ) from error
    return False


def require_runs(workdir: Path) -> None:
    """Raise InputError if the workdir has no complete MLflow store. The workdir is not created."""
    if not holds_mlflow_store(workdir):
        raise InputError(f"workdir {workdir} has no runs; `make run` or `crack-pipeline run-local` starts a run")


def prepare_mlflow(workdir: Path, experiment: str) -> None:
    """Create the MLflow store's schema and the experiment before the steps start.

    Otherwise, two steps that start together would both create the schema and the experiment. The file of the store gets
    its final name when the store is complete. If a process was killed before that, the incomplete store has no runs,
    and the next call creates the store again.

    Raises:
        InputError: The store's file is damaged or locked, or the experiment was deleted.
    """
    from mlflow.tracking import MlflowClient  # late: it takes seconds to import

    from components.shared.services.mlflow_failures import explained, require_active

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)

    if not holds_mlflow_store(workdir):
        unfinished = workdir / UNFINISHED_DATABASE
        _remove_database(unfinished)
        client = MlflowClient(_sqlite_uri(unfinished))
        client.create_experiment(experiment, artifact_location=MLFLOW_ARTIFACTS)

        _remove_database(workdir / DATABASE)
        unfinished.rename(workdir / DATABASE)
        return

    uri = tracking_uri(workdir)
    with explained(uri):
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            client.create_experiment(experiment, artifact_location=MLFLOW_ARTIFACTS)
        else:
            require_active(found, uri)


def _remove_database(database: Path) -> None:
    # The journal must be deleted first. If only the journal were left, SQLite would apply it to the next database of
    # this name.
    database.with_name(f"{database.name}-journal").unlink(missing_ok=True)
    database.unlink(missing_ok=True)


def free_port() -> int:
    """Return the number of a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def require_free(port: int) -> None:
    """Raise InputError if a process already listens on the loopback port."""
    with socket.socket() as probe:
        if probe.connect_ex((LOOPBACK, port)) == 0:
            raise InputError(f"port {port} is in use; choose another with --port")


def wait_until_it_listens(server: subprocess.Popen, host: str, port: int) -> None:
    """Wait until a server listens, or ends."""
    while server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.2)


def wait_for_port(port: int, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    """Wait until a guarded server answers on the loopback port.

    Raises:
        RuntimeError: The server ended, or it did not answer within `seconds`. The message contains the last line of the
            server's log.
    """
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        time.sleep(0.05)

    lines = log.read_text(errors="replace").strip().splitlines()
    cause = lines[-1] if lines else "its log is empty"
    raise RuntimeError(f"the server on port {port} did not start: {cause}; the log is {log}")


def _rclone() -> str:
    programs_of_python = Path(sys.executable).parent
    found = shutil.which("rclone", path=str(programs_of_python)) or shutil.which("rclone")
    if not found:
        raise InputError("rclone, the S3 server of local runs, is not installed; run `make setup`")
    return found
