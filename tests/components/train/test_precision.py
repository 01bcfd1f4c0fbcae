import json

import pytest
import torch

from components.train.dry_run import describe_network
from components.train.precision import measure_precision, seconds_per_step, stored_precision
from tests.components.train.conftest import recipe


@pytest.fixture
def bf16_in_hardware(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


def taking(**seconds):
    return lambda config, info, device: seconds


def test_a_configured_precision_is_used_and_the_store_is_not_read(store):
    config = recipe(precision="bf16")
    assert stored_precision(config, describe_network(config, 1), "cpu", store) == "bf16"


def test_without_bf16_in_hardware_nothing_is_measured(store, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    config = recipe(precision="auto")
    assert stored_precision(config, describe_network(config, 1), "cpu", store) == "fp32"


@pytest.mark.parametrize(("bf16", "fp32", "faster"), [(0.1, 0.2, "bf16"), (0.2, 0.1, "fp32")])
def test_the_faster_precision_is_stored_for_the_next_run(store, bf16_in_hardware, bf16, fp32, faster):
    config = recipe(precision="auto")
    info = describe_network(config, 1)
    assert stored_precision(config, info, "cpu", store) is None
    assert measure_precision(config, info, "cpu", store, taking(bf16=bf16, fp32=fp32)) == faster
    assert stored_precision(config, info, "cpu", store) == faster

    [(name, _)] = store.list("precision/")
    kept = json.loads(store.get_bytes(name))
    assert kept["seconds_per_step"] == {"bf16": bf16, "fp32": fp32}
    assert kept["where"]["torch"] == torch.__version__


@pytest.mark.parametrize("change", [{"architecture": "test_vit"}, {"input_size": 64}, {"batch_size": 4}])
def test_another_network_or_size_is_measured_again(store, bf16_in_hardware, change):
    config = recipe(precision="auto")
    measure_precision(config, describe_network(config, 1), "cpu", store, taking(bf16=1.0, fp32=2.0))
    other = recipe(precision="auto", **change)
    assert stored_precision(other, describe_network(other, 1), "cpu", store) is None


def test_both_precisions_are_timed():
    config = recipe(precision="auto")
    seconds = seconds_per_step(config, describe_network(config, 1), "cpu")
    assert set(seconds) == {"bf16", "fp32"}
    assert all(0 < value < 60 for value in seconds.values())
