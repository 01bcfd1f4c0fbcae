"""Test trainings on several devices, and on devices with too little memory."""

import traceback

import pytest
import torch
from safetensors.torch import load_file
from torch.multiprocessing import ProcessRaisedException

from components.shared.errors import InputError
from components.shared.network.network import Network
from components.shared.network.saved_network import WEIGHTS
from components.train.checkpoints import Checkpoints, PreemptedError
from components.train.fit import _original_error, fit
from tests.components.train.conftest import recipe

# A network without BatchNorm, whose statistics depend on the micro-batch and on the device.
RECIPE = {"architecture": "test_vit", "steps": 4, "class_balance": "weights", "learning_rate": 1e-3}


def assert_close(one, two):
    left, right = load_file(one / WEIGHTS), load_file(two / WEIGHTS)
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], atol=2e-5, rtol=1e-3, msg=name)


def test_two_processes_give_the_weights_of_one_and_resume_where_they_stopped(make_task, store, tmp_path):
    settings = {"val_check_interval": 0.5, "checkpoint_minutes": 1e-9, **RECIPE}
    one = fit(make_task(devices=1, **settings), tmp_path / "one")
    two = fit(make_task(devices=2, key="work", **settings), tmp_path / "two")
    assert (one.devices, two.devices) == (1, 2)
    assert_close(tmp_path / "one", tmp_path / "two")
    checkpoints = Checkpoints(store, "work")
    while (
        checkpoints.newest()["record"]["history"][-1]["step"] == 4
    ):  # as if the training had been killed before the last validation
        store.delete([store.list("runs/work/checkpoints/")[-1][0]])
    again = fit(make_task(devices=2, key="work", **settings), tmp_path / "again")
    assert again.resumed_at
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / "two" / WEIGHTS).read_bytes()
    for record in (two, again):
        for alone, together in zip(one.history, record.history, strict=True):
            for name in ("step", "train_loss", "val_loss", "val_accuracy"):
                assert together[name] == pytest.approx(alone[name], rel=1e-3), name


def gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def gpu_library():
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def processor():
    torch.empty(2**60)  # the CPU's allocator raises another error than the GPU's


def limit_memory(monkeypatch, images, run_out=processor):
    forward = Network.forward

    def limited(self, batch):
        if self.training and len(batch) > images:
            run_out()
        return forward(self, batch)

    monkeypatch.setattr(Network, "forward", limited)


@pytest.mark.parametrize("run_out", [gpu, gpu_library, processor])
def test_a_batch_too_large_for_the_memory_is_split_into_parts_with_the_same_result(
    make_task, tmp_path, monkeypatch, caplog, run_out
):
    fit(make_task(**RECIPE), tmp_path / "whole")
    limit_memory(monkeypatch, 3, run_out)
    record = fit(make_task(**RECIPE), tmp_path / "parts")
    assert record.parts == 4
    assert "memory ran out with 8 tiles" in caplog.text
    assert_close(tmp_path / "whole", tmp_path / "parts")


def test_a_network_that_does_not_fit_at_all_is_an_error(make_task, tmp_path, monkeypatch):
    limit_memory(monkeypatch, images=0)
    with pytest.raises(InputError, match=r"test_vit at 32 px does not fit .* even with one tile"):
        fit(make_task(**RECIPE), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_error_in_one_of_several_processes_reaches_the_parent():
    for raised in (
        InputError("lower learning_rate: 1\nit diverged"),
        PreemptedError("stopped"),
        KeyError("x"),
        OSError(),
    ):
        try:
            raise raised from ValueError("another: cause")
        except Exception:
            found = _original_error(
                ProcessRaisedException(f"\n\n-- Process 1 terminated\n{traceback.format_exc()}", 1, 2)
            )
        if isinstance(raised, InputError | PreemptedError):
            assert (type(found), str(found)) == (type(raised), str(raised))
        else:
            assert str(found).startswith(type(raised).__name__)


def test_more_devices_than_images_are_refused():
    with pytest.raises(ValueError, match="devices is 9; it must be 1 to batch_size"):
        recipe(devices=9)
