"""What only a GPU can show about training, on the smallest networks that show it. It takes a few minutes at most."""

import pytest
import torch

from components.shared.data.manifest import read_splits, rows_of
from components.shared.data.versions import fetch
from components.shared.network.saved_network import WEIGHTS, load_network
from components.train.config import TrainConfig
from components.train.dry_run import describe_network, has_compiler
from components.train.fit import fit
from components.train.task import Task
from tests.tiny_version import commit_tiny_version

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU on this machine")


@pytest.fixture
def make_task(store, s3, tmp_path):
    manifest, _, splits_path = commit_tiny_version(store, tmp_path)
    splits, folder = read_splits(splits_path), fetch(store, manifest, tmp_path / "cache")

    def make(**changes):
        settings = {
            "architecture": "resnet18",
            "weights": "none",
            "input_size": 64,
            "steps": 8,
            "batch_size": 8,
            "devices": 1,
        }
        config = TrainConfig(**{**settings, "learning_rate": 3e-3, "store": s3, "require_gpu": True, **changes})
        train, val = rows_of(manifest, splits, "train"), rows_of(manifest, splits, "val")
        return Task(describe_network(config, 1), train, val, folder, config, 1)

    return make


def test_training_runs_on_the_gpu_and_its_weights_load_without_one(make_task, tmp_path):
    record = fit(make_task(), tmp_path / "model")
    assert record.device == "cuda"
    assert record.precision == ("bf16" if torch.cuda.is_bf16_supported() else "fp32")
    network = load_network(tmp_path / "model")
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())


@pytest.mark.parametrize("architecture", ["resnet18", "vit_tiny_patch16_224"])
def test_deterministic_training_gives_the_same_bytes_twice(make_task, tmp_path, architecture):
    for name in ("one", "two"):
        fit(make_task(architecture=architecture, deterministic=True), tmp_path / name)
    assert (tmp_path / "one" / WEIGHTS).read_bytes() == (tmp_path / "two" / WEIGHTS).read_bytes()


def test_a_batch_too_large_for_the_memory_is_split_into_parts(make_task, tmp_path):
    torch.cuda.set_per_process_memory_fraction(1.5e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        record = fit(make_task(batch_size=256, input_size=224, steps=2), tmp_path / "model")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert record.parts > 1


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs on this machine")
def test_all_gpus_of_the_machine_train_together(make_task, tmp_path):
    assert fit(make_task(devices="auto"), tmp_path / "model").devices == min(torch.cuda.device_count(), 8)


@pytest.mark.skipif(not has_compiler(), reason="Triton needs a C compiler, and this machine has none")
def test_compiled_training_learns_too(make_task, tmp_path):
    record = fit(make_task(compile=True, steps=24), tmp_path / "model")
    assert max(point["val_accuracy"] for point in record.history) > 0.9
