"""The next process removes the temporary folders of killed processes, and no other folders."""

import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from components.shared.scratch import scratch_folder


def _hold(answer: Connection) -> None:
    with scratch_folder() as folder:
        (folder / "file").write_bytes(b"x")
        answer.send(folder)
        time.sleep(60)


def test_only_folders_of_the_dead_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "crack-of-others").mkdir()

    processes, folders = [], []
    for _ in range(2):
        here, there = multiprocessing.Pipe()
        processes.append(multiprocessing.get_context("fork").Process(target=_hold, args=(there,)))
        processes[-1].start()
        folders.append(here.recv())
    dead, alive = folders

    processes[0].kill()
    processes[0].join()
    assert dead.exists()

    with scratch_folder() as mine:
        assert {path.name for path in tmp_path.iterdir()} == {"crack-of-others", alive.name, mine.name}
        assert (alive / "file").exists()
    assert not mine.exists()

    processes[1].kill()
    processes[1].join()
