"""Finished work is not done twice: results stand under `runs/<key>/` in the store, commit marker last.

The marker names every file with its sha256, and exactly these are fetched, verified.

KFP's own cache cannot do this: its key is fixed when the pipeline is compiled, and so cannot hold a digest known only
at run time.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.shared.runtime import digest, emit, log
from components.shared.storage import Store, file_digest

MARKER = "done.json"


def run_key(code_of: str, *parts: Any) -> str:
    """Name a piece of work by everything that decides its result.

    Args:
        code_of: Step folder whose code does the work; its sources and those of `shared` are part of the key.
        parts: Digests, seed and `StepConfig.identity()`; JSON values.
    """
    root = Path(__file__).parents[1]
    sources = sorted([*(root / code_of).glob("*.py"), *(root / "shared").glob("*.py")])
    code = [(path.relative_to(root).as_posix(), path.read_text()) for path in sources]
    return digest(code, *parts)


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
