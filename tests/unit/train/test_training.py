import copy

import pytest
import torch

from components.shared.config import AugmentConfig
from components.shared.manifest import read_splits, rows_of
from components.shared.model import build_network, describe
from components.shared.runtime import InputError, pick_device
from components.shared.shards import fetch
from components.train.config import TrainConfig
from components.train.training import CrackClassifier, _length, fit
from tests.unit.tiny_version import commit_tiny_version


@pytest.fixture
def data(store, tmp_path):
    manifest, _, splits_path = commit_tiny_version(store, tmp_path)
    splits = read_splits(splits_path)
    folder = fetch(store, manifest.digest, tmp_path / "cache")
    return rows_of(manifest, splits, "train"), rows_of(manifest, splits, "val"), folder


def recipe(**changes):
    settings = {
        "architecture": "resnet10t", "weights": "none", "input_size": 32, "steps": 12, "batch_size": 8,
        "learning_rate": 3e-3, "workers": 0, "augment": AugmentConfig(brightness=0, contrast=0),
    }  # fmt: skip
    return TrainConfig(**{**settings, **changes})


def train(data, config, seed=1):
    info = describe(config.architecture, config.weights, config.input_size, 0.0, 0.0, config.freeze, seed)
    return fit(info, *data, config, seed)


def state(network):
    return network.backbone.state_dict()


def test_training_learns_what_can_be_seen_and_keeps_the_best_weights(data):
    network, record = train(data, recipe())
    assert max(entry["val_accuracy"] for entry in record.history) == 1.0
    best = min(record.history, key=lambda entry: entry["val_loss"])
    assert record.best_step == best["step"]
    assert [entry["step"] for entry in record.history] == [3, 6, 9, 12]
    assert record.images_per_second > 0
    assert not network.training


def test_the_same_seed_gives_the_same_weights_byte_for_byte(data):
    one, _ = train(data, recipe())
    two, _ = train(data, recipe())
    other, _ = train(data, recipe(), seed=2)
    assert all(torch.equal(tensor, state(two)[name]) for name, tensor in state(one).items())
    assert any(not torch.equal(tensor, state(other)[name]) for name, tensor in state(one).items())


def test_a_frozen_backbone_does_not_move_by_one_bit(data):
    config = recipe(freeze="backbone")
    network, _ = train(data, config)
    fresh = build_network(describe(config.architecture, "none", 32, 0.0, 0.0, "backbone", 1))
    head = {f"fc.{name}" for name, _ in network.backbone.fc.named_parameters()}
    for name, tensor in state(fresh).items():
        assert torch.equal(tensor, state(network)[name]) == (name not in head), name


def test_the_learning_rate_warms_up_and_falls_to_zero():
    network = build_network(describe("resnet10t", "none", 32, 0.0, 0.0, "none", 1))
    module = CrackClassifier(network, recipe(warmup=0.2), steps=10, class_weights=None)
    rates = [module._rate(step) for step in range(11)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[10] == pytest.approx(0)


def test_weight_decay_spares_biases_and_normalisation():
    network = build_network(describe("resnet10t", "none", 32, 0.0, 0.0, "none", 1))
    module = CrackClassifier(network, recipe(), steps=10, class_weights=None)
    decayed, spared = copy.copy(module.configure_optimizers()["optimizer"].param_groups)
    assert decayed["weight_decay"] == 0.05
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert spared["weight_decay"] == 0
    assert len(decayed["params"]) + len(spared["params"]) == len(list(network.parameters()))


def test_length_is_given_once():
    with pytest.raises(ValueError, match="either epochs or steps"):
        recipe(epochs=1.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, so the error cannot come up")
def test_a_missing_gpu_is_an_error_when_one_is_required():
    with pytest.raises(InputError, match="no GPU"):
        pick_device(require_gpu=True)


@pytest.mark.parametrize(
    ("length", "expected"),
    [({"steps": 300}, (300, 75)), ({"steps": 303}, (300, 75)), ({"steps": 3}, (3, 1)), ({"epochs": 2.0}, (24, 6))],
)
def test_the_last_step_is_validated(length, expected):
    steps, interval = _length(recipe(**{"steps": None, **length}), images=100)
    assert (steps, interval) == expected
    assert steps % interval == 0
