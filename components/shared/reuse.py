"""Finished work is not done twice: results stand under `runs/<key>/` in the store, commit marker last.

The marker names every file with its sha256, and exactly these are fetched, verified.

KFP's own cache cannot do this: its key is fixed when the pipeline is compiled, and so cannot hold a digest known only
at run time.
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
# What computes results, and may do it otherwise in another version.
_PACKAGES = ("grad-cam", "numpy", "opencv-python-headless", "shap", "timm", "torch")


def run_key(code_of: str, *parts: Any) -> str:
    """Name a piece of work by everything that decides its result.

    Args:
        code_of: Step folder whose code does the work. Part of the key are its sources, those that they import, and the
            versions of the packages that compute.
        parts: Digests, seed and `StepConfig.identity()`; JSON values.
    """
    return digest(_sources(code_of), {name: _version(name) for name in _PACKAGES}, *parts)


def _sources(step: str) -> dict[str, str]:
    """Content by name of a step's files and of those of `components` that they import, directly or not."""
    root = Path(__file__).parents[2]
    sources: dict[str, str] = {}
    pending = list((root / "components" / step).glob("*.py"))
    while pending:
        path = pending.pop()
        name = path.relative_to(root).as_posix()
        if name not in sources and path.is_file():
            sources[name] = path.read_text()
            pending += [root / f"{module.replace('.', '/')}.py" for module in _imported(sources[name])]
    return sources


def _imported(source: str) -> list[str]:
    """Names of what a file imports from `components`: modules, and things in modules."""
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    ours = [(node.module, node.names) for node in statements if node.module and node.module.startswith("components.")]
    return [name for module, names in ours for name in (module, *(f"{module}.{alias.name}" for alias in names))]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def reuse(store: Store, key: str, folder: Path, produce: Callable[[Path], None]) -> bool:
    """Fill `folder` with the results of finished work `key`, or produce them and keep them.

    Args:
        store: Where results are kept.
        key: From `run_key`.
        folder: Is created; holds the results afterwards.
        produce: Writes the results into the folder it is given.

    Returns:
        True where finished work was found, False where `produce` ran.
    """
    prefix = f"runs/{key}"
    folder.mkdir(parents=True, exist_ok=True)
    if store.exists(f"{prefix}/{MARKER}"):
        store.get_folder(prefix, folder, json.loads(store.get_bytes(f"{prefix}/{MARKER}"))["files"])
        log.info("reused finished work %s", key)
        emit("reused", key=key)
        return True
    produce(folder)
    files = {path.relative_to(folder).as_posix(): file_digest(path) for path in folder.rglob("*") if path.is_file()}
    (folder / MARKER).write_text(json.dumps({"key": key, "files": files}))
    store.put_folder(prefix, folder, last=MARKER)
    (folder / MARKER).unlink()
    return False
