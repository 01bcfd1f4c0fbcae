import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.shared.reuse import reuse

COMPONENTS = Path(__file__).parents[3] / "components"


@pytest.fixture
def key(tmp_path):
    """Return a function that computes the key of the step train in a copy of the sources. It can edit one file."""
    shutil.copytree(COMPONENTS, tmp_path / "components")

    def run(*parts, edited=None):
        if edited:
            with open(tmp_path / "components" / edited, "r+") as file:
                file.seek(0, os.SEEK_END)
                file.write("\n# edited\n")

        script = f"from components.shared.reuse import run_key; print(run_key('train', *{parts!r}))"
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return run


def test_a_run_key_depends_on_the_code_that_does_the_work_and_on_no_other_code(key):
    first = key("data", 1)
    assert first == key("data", 1)
    assert first != key("data", 2)
    assert first == key("data", 1, edited="shared/results/metrics.py")  # only evaluate uses it
    assert first == key("data", 1, edited="drift/config.py")
    edits = ("shared/data/image.py", "train/run.py", "shared/templates/page.css")
    changed = [key("data", 1, edited=name) for name in edits]
    assert len({first, *changed}) == 4


def test_another_version_of_a_computing_package_changes_the_run_key(key, tmp_path):
    first = key("data")
    newer = tmp_path / "timm-9.9.9.dist-info"
    newer.mkdir()
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 9.9.9\n")
    assert key("data") != first


@pytest.mark.parametrize("damage", ["emptied marker", "cut marker", "changed file", "lost file"])
def test_finished_work_that_is_damaged_is_done_again(store, tmp_path, damage):
    def produce(folder):
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_bytes(b"weights")
        (folder / "page.html").write_text("page")

    assert not reuse(store, "key", tmp_path / "first", produce)
    assert reuse(store, "key", tmp_path / "second", produce)
    whole = {key: store.get_bytes(key) for key, _ in store.list()}

    damaged = {
        "emptied marker": lambda: store.put_bytes("runs/key/done.json", b""),
        "cut marker": lambda: store.put_bytes("runs/key/done.json", whole["runs/key/done.json"][:30]),
        "changed file": lambda: store.put_bytes("runs/key/model/weights", b"Weights"),
        "lost file": lambda: store.delete(["runs/key/model/weights"]),
    }
    damaged[damage]()
    assert not reuse(store, "key", tmp_path / "third", produce)
    assert {key: store.get_bytes(key) for key, _ in store.list()} == whole
    assert (tmp_path / "third" / "model" / "weights").read_bytes() == b"weights"
    assert not (tmp_path / "third" / "done.json").exists()
