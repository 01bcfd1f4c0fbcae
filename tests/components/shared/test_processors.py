"""The number of threads follows the CPU limit of a container. The control groups are fake; the libraries are real."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.shared.processors import THREAD_VARIABLES, count_processors, limit_threads

AVAILABLE = len(os.sched_getaffinity(0))


def a_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def version_1(folder: Path, quota: int) -> None:
    a_file(folder / "cpu.cfs_quota_us", str(quota))
    a_file(folder / "cpu.cfs_period_us", "100000")


@pytest.mark.parametrize(
    ("limit", "processors"),
    [("80000 100000", 1), ("100000 100000", 1), ("150000 100000", 2), ("max 100000", 64), ("9900000 100000", 64)],
)
def test_a_limit_of_version_2_counts(tmp_path, monkeypatch, limit, processors):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    a_file(tmp_path / "cpu.max", limit)
    assert count_processors(tmp_path, tmp_path / "missing") == processors


@pytest.mark.parametrize("controller", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "processors"), [(80_000, 1), (150_000, 2), (-1, 64)])
def test_a_limit_of_version_1_counts(tmp_path, monkeypatch, controller, quota, processors):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    version_1(tmp_path / controller, quota)
    assert count_processors(tmp_path, tmp_path / "missing") == processors


def test_the_smallest_limit_on_the_way_to_the_own_group_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    a_file(tmp_path / "own", "4:cpu,cpuacct:/pods/a\n0::/pods/a/container")
    a_file(tmp_path / "pods" / "a" / "container" / "cpu.max", "max 100000")
    a_file(tmp_path / "pods" / "a" / "cpu.max", "300000 100000")
    assert count_processors(tmp_path, tmp_path / "own") == 3
    version_1(tmp_path / "cpu,cpuacct" / "pods", 200_000)
    assert count_processors(tmp_path, tmp_path / "own") == 2


def test_without_a_limit_the_affinity_counts(tmp_path):
    assert count_processors(tmp_path, tmp_path / "missing") == AVAILABLE


LIBRARIES = """
import os
import {imports}
os.cpu_count = lambda: 64
from components.shared.processors import limit_threads
{before}
limit_threads(1)
import cv2, numpy, pyarrow, torch
from threadpoolctl import threadpool_info
numpy.ones((2, 2)) @ numpy.ones((2, 2))
pools = max(pool["num_threads"] for pool in threadpool_info())
print(torch.get_num_threads(), cv2.getNumThreads(), pyarrow.cpu_count(), pools)
"""


@pytest.mark.parametrize(
    ("imports", "before"),
    [("sys", ""), ("cv2, numpy, pyarrow, torch", "torch.set_num_threads(4); pyarrow.set_cpu_count(4)")],
    ids=["libraries are loaded later", "libraries were loaded before"],
)
def test_every_library_keeps_to_the_limit(imports, before):
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    code = LIBRARIES.format(imports=imports, before=before)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1", "1", "1"], done.stderr


def test_a_lower_number_of_the_user_stays_and_all_processors_change_nothing(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for variable in THREAD_VARIABLES:
        monkeypatch.setenv(variable, "2")
    monkeypatch.setattr("components.shared.processors._limit_loaded_libraries", lambda _: None)
    limit_threads(3)
    assert {os.environ[variable] for variable in THREAD_VARIABLES} == {"2"}
    monkeypatch.delenv("OMP_NUM_THREADS")
    limit_threads(64)
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_step_limits_its_threads_when_it_starts(monkeypatch, s3):
    from components.shared.step import step

    called = []
    monkeypatch.setattr("components.shared.step.limit_threads", lambda: called.append(True))
    with step("split", "job", s3):
        assert called == [True]
