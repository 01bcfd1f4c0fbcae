import pytest
import torch
from safetensors.torch import load_file

from components.shared.errors import InputError
from components.shared.network.network import build_network
from components.shared.network.saved_network import WEIGHTS, load_network
from components.train.fit import fit, length
from tests.components.train.conftest import recipe


def test_training_learns_and_saves_the_best_weights(make_task, tmp_path):
    record = fit(make_task(steps=16), tmp_path / "model")
    assert max(entry["val_accuracy"] for entry in record.history) == 1.0
    best = min(record.history, key=lambda entry: entry["val_loss"])
    assert record.best_step == best["step"]
    assert [entry["step"] for entry in record.history] == [4, 8, 12, 16]
    assert record.images == 16 * 8
    assert record.images_per_second > 0
    assert 0 < record.data_wait_share < 1
    assert not load_network(tmp_path / "model").training


def test_the_same_seed_gives_the_same_weights_byte_for_byte(make_task, tmp_path):
    settings = {"dropout": 0.2, "stochastic_depth": 0.2, "ema": 0.9}
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        fit(make_task(seed, **settings), tmp_path / name)
    one, two, other = ((tmp_path / name / WEIGHTS).read_bytes() for name in ("one", "two", "other"))
    assert one == two
    assert one != other


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_frozen_weights_do_not_change_by_one_bit(make_task, tmp_path, architecture):
    for tuning in ("head_only", "last_1"):
        task = make_task(architecture=architecture, tuning=tuning, steps=3, stochastic_depth=0.1)
        fit(task, tmp_path / tuning)
        fresh = build_network(task.info).backbone
        trained = load_network(tmp_path / tuning).backbone.state_dict()
        head = fresh.pretrained_cfg["classifier"]
        last = {"test_resnet": "layer4.", "test_vit": ("blocks.5.", "norm.")}[architecture]
        moving = head if tuning == "head_only" else (head, *([last] if isinstance(last, str) else last))
        for name, tensor in fresh.state_dict().items():
            assert torch.equal(tensor, trained[name]) != name.startswith(moving), name


def test_averaged_weights_are_saved(make_task, tmp_path):
    settings = {"learning_rate": 1e-3, "schedule": "constant", "warmup": 0, "val_check_interval": 1.0}
    for steps in (1, 2):
        fit(make_task(steps=steps, **settings), tmp_path / str(steps))
    fit(make_task(steps=2, ema=0.999, **settings), tmp_path / "average")
    one, two, average = (load_file(tmp_path / name / WEIGHTS) for name in ("1", "2", "average"))
    decay = 1 - 2 ** (-2 / 3)  # the decay in timm's warm-up after one step
    for name, tensor in average.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, decay * one[name] + (1 - decay) * two[name])


def test_a_gradient_that_is_too_long_is_clipped(make_task, tmp_path):
    # AdamW divides by the gradient's own size. A gradient clipped to far below its epsilon hardly changes the weights.
    settings = {"weight_decay": 0.0, "steps": 1, "warmup": 0}
    moved = {}
    for norm in (0.0, 1e6, 1e-15):
        task = make_task(clip_norm=norm, **settings)
        fit(task, tmp_path / str(norm))
        before = dict(build_network(task.info).named_parameters())
        after = dict(load_network(tmp_path / str(norm)).named_parameters())
        moved[norm] = max(float((after[name] - before[name]).abs().max().detach()) for name in before)
    assert moved[0.0] == moved[1e6] == pytest.approx(3e-3, rel=0.01)  # the learning rate
    assert moved[1e-15] < 1e-8


def test_a_training_that_does_not_improve_stops_early(make_task, tmp_path):
    no_progress = {"architecture": "test_vit", "learning_rate": 1e-30}
    record = fit(make_task(steps=40, val_check_interval=0.05, patience=2, **no_progress), tmp_path / "model")
    assert [point["step"] for point in record.history] == [2, 4, 6]
    assert record.best_step == 2


def test_a_training_that_diverges_stops_with_advice(make_task, tmp_path):
    with pytest.raises(InputError, match=r"loss after step 3 is (nan|inf).*lower learning_rate \(1e\+30\)"):
        fit(make_task(learning_rate=1e30), tmp_path / "model")


def test_the_length_must_be_given_once():
    with pytest.raises(ValueError, match=r"epochs is 1\.0 and steps is 12: give either epochs or steps"):
        recipe(epochs=1.0)
    with pytest.raises(ValueError, match="neither epochs nor steps is set: give either"):
        recipe(steps=None)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [({"steps": 300}, (300, 75)), ({"steps": 303}, (300, 75)), ({"steps": 3}, (3, 1)), ({"epochs": 2.0}, (24, 6))],
)
def test_the_last_step_is_validated(wanted, expected):
    steps, interval = length(recipe(**{"steps": None, **wanted}), images=100)
    assert (steps, interval) == expected
    assert steps % interval == 0
