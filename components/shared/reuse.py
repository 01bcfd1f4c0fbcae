"""Finished work is not done twice: results are kept under `runs/<key>/` in the store.

The last file to be written, the marker, commits the others. It lists every file with its sha256; a later run fetches
exactly these files and verifies them.

KFP's own cache cannot do this: its key is fixed when the pipeline is compiled, and a digest is known only at run time.
"""

import ast
import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from components.shared.events import emit, log
from components.shared.hashing import digest, file_digest
from components.shared.services.store import Store

MARKER = "done.json"
COMPUTING_PACKAGES = ("albumentations", "grad-cam", "numpy", "opencv-python-headless", "shap", "timm", "torch")
ROOT = Path(__file__).parents[2]


def run_key(code_of: str, *parts: Any) -> str:
    """Name a piece of work by everything that decides its result.

    Args:
        code_of: The step folder whose code does the work. The key depends on its sources and templates, on the modules
            that they import, and on the versions of the packages that compute.
        parts: Digests, seed and `StepConfig.identity()`; JSON values.
    """
    versions = {name: _version(name) for name in COMPUTING_PACKAGES}
    return digest(_sources(code_of), versions, *parts)


def _sources(step: str) -> dict[str, str]:
    """Content by name of a step's files and of the modules that they import, directly or not, with their templates."""
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
    """Files that a source's imports from `components` could mean; the names in modules give files that do not exist."""
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
    """Fetch the results of the finished work `key`; if there are none, produce and keep them.

    Args:
        store: Where results are kept.
        key: From `run_key`.
        folder: Is created; holds the results afterwards.
        produce: Writes the results into the folder it is given.

    Returns:
        True if finished work was found, False if `produce` ran.
    """
    prefix = f"runs/{key}"
    folder.mkdir(parents=True, exist_ok=True)

    if store.exists(f"{prefix}/{MARKER}"):
        finished = json.loads(store.get_bytes(f"{prefix}/{MARKER}"))
        store.get_folder(prefix, folder, finished["files"])
        log.info("reused finished work %s", key)
        emit("reused", key=key)
        return True

    produce(folder)
    files = {}
    for path in folder.rglob("*"):
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = file_digest(path)

    marker = folder / MARKER
    marker.write_text(json.dumps({"key": key, "files": files}))
    store.put_folder(prefix, folder, last=MARKER)
    marker.unlink()
    return False
