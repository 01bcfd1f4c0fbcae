"""Compute a result once, and fetch it when a later run needs the same result.

A result is a folder of files. The store keeps it under `runs/<key>/`. The key depends on everything that decides the
result. The last file that is written is the marker `done.json`. It lists the other files with their sha256. A result
without a marker is incomplete and is not used. A later run fetches exactly the listed files and verifies them.

KFP's own cache cannot do this, because its key is fixed when the pipeline is compiled. Our key contains digests that
are known only at run time.
"""

import ast
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from components.shared.errors import InputError
from components.shared.events import emit, log, warn
from components.shared.hashing import digest, file_digest
from components.shared.services.records import read_record, write_record
from components.shared.services.store import DamagedObjectError, MissingObjectError, Store

MARKER = "done.json"
COMPUTING_PACKAGES = ("albumentations", "grad-cam", "numpy", "opencv-python-headless", "shap", "timm", "torch")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    """The content of the marker. `key` is the key of the result. `files` is a dict: name of a file -> its sha256."""

    key: str
    files: dict[str, str]


def run_key(code_of: str, *parts: Any) -> str:
    """Return the key of a result. It depends on everything that decides the result.

    Args:
        code_of: Name of the step whose code computes the result. The key depends on the step's sources and templates,
            on the modules that they import, and on the versions of the packages in COMPUTING_PACKAGES.
        parts: Digests, the seed and `StepConfig.identity()`, as JSON values.
    """
    versions = {name: _version(name) for name in COMPUTING_PACKAGES}
    return digest(_sources(code_of), versions, *parts)


def _sources(step: str) -> dict[str, str]:
    """Return a dict, name -> content, of a step's files and templates.

    It also contains all modules that these files import directly or indirectly, and their templates.
    """
    sources: dict[str, str] = {}
    pending = _files_of(ROOT / "components" / step, "**/*")

    while pending:
        path = pending.pop()
        name = path.relative_to(ROOT).as_posix()
        if name in sources or not path.is_file():
            continue

        sources[name] = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            pending += _files_of(path.parent, f"templates/{path.stem}*")
            pending += _modules_imported(sources[name])
    return sources


def _files_of(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if path.suffix in (".py", ".html", ".css")]


def _modules_imported(source: str) -> list[Path]:
    """Return the files that a source text may import from `components`.

    In `from components.a import b`, b can be the file b.py or a name in a.py. So some of these files do not exist.
    """
    files = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("components."):
            module = ROOT.joinpath(*node.module.split("."))
            files.append(module.with_suffix(".py"))
            files += [module / f"{alias.name}.py" for alias in node.names]
    return files


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def reuse(store: Store, key: str, folder: Path, produce: Callable[[Path], None]) -> bool:
    """Fetch the result `key` from the store. If the store does not have it, compute and store it.

    If the result cannot be stored, we only warn. The caller still has the result in the folder, but later runs must
    compute it again.

    Args:
        store: The store that keeps the results.
        key: The key from `run_key`.
        folder: Folder for the files of the result; it is created.
        produce: Function that computes the result and writes it into `folder`, which is its argument.

    Returns:
        True if the result was fetched, False if `produce` computed it.
    """
    prefix = f"runs/{key}"
    folder.mkdir(parents=True, exist_ok=True)

    if _fetch_finished(store, prefix, folder):
        log.info("fetched the result %s of an earlier run", key)
        emit("reused", key=key)
        return True

    produce(folder)
    files = {}
    for path in folder.rglob("*"):
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = file_digest(path)

    try:
        store.put_folder(prefix, folder)
        write_record(store, f"{prefix}/{MARKER}", Finished(key, files))
    except InputError as error:
        # Hours of work must not be lost because, for example, credentials have expired in the meantime.
        warn(f"a result could not be stored, so later runs must compute it again; this run can use it: {error}")
    return False


def _fetch_finished(store: Store, prefix: str, folder: Path) -> bool:
    """Fetch a result into an existing folder. If the result is missing or damaged, leave the folder empty."""
    marker = f"{prefix}/{MARKER}"
    if not store.exists(marker):
        return False

    try:
        finished = read_record(store, marker, Finished, "nothing needs to be done")
        store.get_folder(prefix, folder, finished.files)
    except (DamagedObjectError, MissingObjectError) as error:
        log.warning("a stored result cannot be reused and is computed again: %s", error)
        shutil.rmtree(folder)
        folder.mkdir()
        return False
    return True
