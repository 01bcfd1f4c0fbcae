import pytest

from components.shared.data.manifest import read_splits, rows_of
from components.shared.data.versions import fetch
from components.train.config import TrainConfig
from components.train.dry_run import describe_network
from components.train.task import Task
from tests.tiny_version import commit_tiny_version


@pytest.fixture
def make_task(store, s3, tmp_path):
    """Return a function that makes a task with small settings. Its arguments change these settings."""
    manifest, _, splits_path = commit_tiny_version(store, tmp_path)
    splits = read_splits(splits_path)
    folder = fetch(store, manifest, tmp_path / "cache")
    train, val = rows_of(manifest, splits, "train"), rows_of(manifest, splits, "val")

    def make(seed=1, key=None, **changes):
        config = recipe(store=s3, **changes)
        return Task(describe_network(config, seed), train, val, folder, config, seed, key)

    return make


AUGMENT = ({"Rotate": {"limit": 30}}, {"FastColorJitter": {"brightness": 0, "contrast": 0}}, {"FastGaussNoise": {}})


def recipe(**changes):
    settings = {
        "architecture": "test_resnet", "weights": "none", "input_size": 32, "steps": 12, "batch_size": 8,
        "learning_rate": 3e-3, "workers": 0, "precision": "fp32", "augment": AUGMENT,
    }  # fmt: skip
    return TrainConfig(**{**settings, **changes})
