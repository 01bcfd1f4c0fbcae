import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPONENTS = Path(__file__).parents[3] / "components"


@pytest.fixture
def key(tmp_path):
    """Return a function that gives train's run key by a copy of the code, in which a file was added to."""
    shutil.copytree(COMPONENTS, tmp_path / "components")

    def run(*parts, edited=None):
        if edited:
            with open(tmp_path / "components" / edited, "a") as file:
                file.write("\n# edited\n")
        script = f"from components.shared.reuse import run_key; print(run_key('train', *{parts!r}))"
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", script]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    return run


def test_a_run_key_holds_the_code_that_does_the_work_and_no_other(key):
    first = key("data", 1)
    assert first == key("data", 1)
    assert first != key("data", 2)
    assert first == key("data", 1, edited="shared/results/metrics.py")  # evaluate's
    assert first == key("data", 1, edited="drift/config.py")
    changed = [
        key("data", 1, edited=name) for name in ("shared/data/image.py", "train/loop.py", "train/augmentation.py")
    ]
    assert len({first, *changed}) == 4


def test_another_version_of_what_computes_is_other_work(key, tmp_path):
    first = key("data")
    newer = tmp_path / "timm-9.9.9.dist-info"
    newer.mkdir()
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 9.9.9\n")
    assert key("data") != first
