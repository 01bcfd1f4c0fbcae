"""Test trainings that are really killed. Each training runs in a separate process."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from components.shared.network.saved_network import WEIGHTS
from components.train import loop
from components.train.checkpoints import Checkpoints, PreemptedError
from components.train.fit import fit
from tests.fuzz.fuzz_checkpoints import fuzz

# The server process only imports PyTorch. Each training is a fork of this process.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["components.train.fit"])
# Values of checkpoint_minutes.
AT_EVERY_STEP = 1e-9
ONLY_ON_SIGTERM = 60
RECIPE = {
    "steps": 12, "dropout": 0.2, "ema": 0.8, "class_balance": "sampling", "val_check_interval": 0.25, "workers": 1,
}  # fmt: skip


def train_until(task, folder, environment, sent=None, after=0, within="train_on"):
    """Train in this process. When the method `within` starts after `after` steps, send `sent` to the process group."""
    os.setpgrp()
    os.environ.update(environment)
    method = getattr(loop.Loop, within)

    def killed(self, *arguments):
        if sent and self.step == after:
            os.killpg(0, sent)
        return method(self, *arguments)

    setattr(loop.Loop, within, killed)
    try:
        record = fit(task, folder)
    except PreemptedError:
        os._exit(3)
    (folder / "resumed").write_text(" ".join(map(str, record.resumed_at)))


@pytest.fixture
def train(s3_environment):
    def run(task, folder, sent=None, after=0, within="train_on"):
        process = PROCESSES.Process(target=train_until, args=(task, folder, s3_environment, sent, after, within))
        process.start()
        process.join(60)
        return process.exitcode

    return run


def test_a_training_killed_several_times_gives_the_same_weights(make_task, train, store, tmp_path):
    task = make_task(key="work", checkpoint_minutes=AT_EVERY_STEP, **RECIPE)
    kills = sorted(random.sample(range(1, 12), 3))
    for after in kills:
        assert train(task, tmp_path / "killed", signal.SIGKILL, after) == -signal.SIGKILL
        assert not (tmp_path / "killed").exists()
    assert 1 <= len(store.list("runs/work/checkpoints/")) <= 3
    assert train(task, tmp_path / "killed") == 0
    assert (tmp_path / "killed" / "resumed").read_text()
    assert train(make_task(**RECIPE), tmp_path / "whole") == 0
    assert (tmp_path / "killed" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes(), kills


def test_sigterm_writes_a_checkpoint_from_which_the_next_start_resumes(make_task, train, store, tmp_path):
    task = make_task(key="work", checkpoint_minutes=ONLY_ON_SIGTERM, **RECIPE)
    assert train(task, tmp_path / "stopped", signal.SIGTERM, 4) == 3
    assert len(store.list("runs/work/checkpoints/")) == 1
    assert (
        train(task, tmp_path / "stopped", signal.SIGTERM, 9, within="_validate") == 3
    )  # the next start repeats the validation
    assert [point["step"] for point in Checkpoints(store, "work").newest()["record"]["history"]] == [3, 6]
    assert train(task, tmp_path / "stopped") == 0
    assert (tmp_path / "stopped" / "resumed").read_text() == "5 9"
    assert train(make_task(**RECIPE), tmp_path / "whole") == 0
    assert (tmp_path / "stopped" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_sigterm_to_a_group_of_two_processes_writes_a_checkpoint(make_task, store, s3_environment, tmp_path):
    settings = {"architecture": "test_vit", "steps": 100_000, "val_check_interval": 1.0, "devices": 2}
    task = make_task(key="work", checkpoint_minutes=0.01, **settings)
    process = PROCESSES.Process(target=train_until, args=(task, tmp_path / "model", s3_environment))
    process.start()
    deadline = time.monotonic() + 300
    while not store.list("runs/work/checkpoints/") and time.monotonic() < deadline:
        time.sleep(0.1)
    before = Checkpoints(store, "work").newest()["step"]
    os.killpg(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 3
    assert Checkpoints(store, "work").newest()["step"] > before


def test_the_checkpoint_before_a_damaged_one_is_used(store):
    checkpoints = Checkpoints(store, "work")
    for step in (1, 2, 4):
        checkpoints.save(step, {"value": step})
    checkpoints.wait()
    newest = store.list("runs/work/checkpoints/")[-1][0]
    assert checkpoints.newest()["value"] == 4
    store.put_bytes(newest, store.get_bytes(newest)[:-1])
    assert checkpoints.newest()["value"] == 2
    checkpoints.save(3, {"value": 3})
    checkpoints.wait()
    assert newest not in [key for key, _ in store.list("runs/work/checkpoints/")]
    assert checkpoints.newest()["value"] == 3


def test_a_store_that_fails_does_not_stop_the_training(store, caplog):
    store.bucket = "no-such-bucket"
    checkpoints = Checkpoints(store, "work")
    checkpoints.save(1, {"value": 1})
    checkpoints.wait()
    assert "could not write a checkpoint" in caplog.text


def test_damaged_models_and_checkpoints_are_never_loaded():
    fuzz(count=30, seed=1)
