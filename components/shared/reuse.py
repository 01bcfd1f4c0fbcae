"""Reuse finished work. Its results are kept under `runs/<key>/` in the store.

The last file that is written is the marker. It commits the other files, because it lists every file with its sha256. A
later run fetches exactly these files and verifies them.

KFP's own cache cannot do this. Its key is fixed when the pipeline is compiled, but our key contains digests that are
known only at run time.
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
    """What the marker says: the work's key, and the sha256 of each file by its name in the folder."""

    key: str
    files: dict[str, str]


def run_key(code_of: str, *parts: Any) -> str:
    """Return the key of a piece of work. It depends on everything that decides the result.

    Args:
        code_of: The step folder whose code does the work. The key depends on its sources and templates, on the modules
            that they import, and on the versions of the packages that compute.
        parts: Digests, the seed and `StepConfig.identity()`, as JSON values.
    """
    versions = {name: _version(name) for name in COMPUTING_PACKAGES}
    return digest(_sources(code_of), versions, *parts)


def _sources(step: str) -> dict[str, str]:
    """Return the files of a step and all modules that they import, directly or not, with templates: name -> content."""
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
    """Return the files that a source's imports from `components` can mean. Some of these files do not exist."""
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
    """Fetch the results of the finished work `key`. If there are no results, produce and store them.

    If they cannot be stored, a warning says so. The caller has them in the folder, and only later runs lack them.

    Args:
        store: The store that holds the results.
        key: The key from `run_key`.
        folder: Folder for the results; it is created.
        produce: Writes the results into the folder that it is called with.

    Returns:
        True if finished work was found, False if `produce` ran.
    """
    prefix = f"runs/{key}"
    folder.mkdir(parents=True, exist_ok=True)

    if _fetch_finished(store, prefix, folder):
        log.info("reused finished work %s", key)
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
        warn(f"the results could not be kept for later runs, which must repeat this work; this run uses them: {error}")
    return False


def _fetch_finished(store: Store, prefix: str, folder: Path) -> bool:
    """Fetch finished work into an existing folder; False if there is none that is whole. The folder is then empty."""
    marker = f"{prefix}/{MARKER}"
    if not store.exists(marker):
        return False

    try:
        finished = read_record(store, marker, Finished, "the work is done again")
        store.get_folder(prefix, folder, finished.files)
    except (DamagedObjectError, MissingObjectError) as error:
        log.warning("the finished work cannot be reused and is done again: %s", error)
        shutil.rmtree(folder)
        folder.mkdir()
        return False
    return True
