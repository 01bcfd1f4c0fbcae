import hashlib
import json

import numpy as np
import pytest
import timm
import torch

from components.shared.errors import InputError
from components.shared.network.network import build_network, describe
from components.shared.network.saved_network import INFO, WEIGHTS, load_network, read_info, save_network, weights_digest


def info(architecture="resnet10t", size=64, weights="none", seed=3):
    return describe(architecture, weights, size, seed)


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), dtype=np.uint8))


@pytest.mark.parametrize("architecture", ["resnet10t", "vit_tiny_patch16_224"])
def test_normalisation_is_that_of_the_published_weights(architecture, images):
    network = build_network(info(architecture)).eval()
    published = timm.get_pretrained_cfg(architecture)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (published.mean, published.std))
    with torch.inference_mode():
        torch.testing.assert_close(network(images), network.backbone((images / 255 - mean) / std), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "architecture",
    ["resnet10t", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050", "dla46x_c", "efficientvit_m0"],
)
def test_embeddings_are_what_the_head_receives(architecture, images):
    network = build_network(info(architecture))
    network(images)  # changes the statistics of a BatchNorm between features and head, if there is one
    network.eval()
    with torch.inference_mode():
        logits, embeddings = network.logits_and_embeddings(images)
        torch.testing.assert_close(logits, network(images), atol=1e-5, rtol=1e-4)
        (head,) = network.heads
        seen = embeddings if isinstance(head, torch.nn.Linear) else embeddings[:, :, None, None]
        torch.testing.assert_close(head(seen).flatten(1), logits)
    assert embeddings.ndim == 2


def test_a_network_with_two_heads_averages_their_logits(images):
    network = build_network(info("deit_tiny_distilled_patch16_224")).eval()
    assert len(network.heads) == 2
    with torch.inference_mode():
        logits, embeddings = network.logits_and_embeddings(images)
        torch.testing.assert_close(logits, network(images))
    assert embeddings.shape == (4, 192)


def test_the_network_before_fine_tuning_is_built_again_from_its_description(tmp_path):
    network = build_network(info())
    save_network(network, tmp_path)
    again = build_network(read_info(tmp_path))
    torch.rand(3)  # the random state outside must not matter
    for name, tensor in network.backbone.state_dict().items():
        assert torch.equal(tensor, again.backbone.state_dict()[name]), name
    other = build_network(info(seed=4)).backbone.get_classifier().weight
    assert not torch.equal(network.backbone.get_classifier().weight, other)


def test_a_saved_network_loads_and_the_same_weights_give_the_same_bytes(tmp_path, images):
    network = build_network(info()).eval().to(memory_format=torch.channels_last)
    save_network(network, tmp_path / "one")
    save_network(network, tmp_path / "two")
    assert weights_digest(tmp_path / "one") == weights_digest(tmp_path / "two")
    with torch.inference_mode():
        torch.testing.assert_close(load_network(tmp_path / "one")(images), network(images), atol=1e-5, rtol=1e-4)


def write_checksums(folder):
    """Write the checksums again, for files that are wrong but not damaged."""
    names = ("model.json", "model.safetensors")
    digests = (hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names)
    (folder / "model.sha256").write_text(
        "".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True))
    )


def test_damaged_models_and_models_of_another_architecture_are_refused(tmp_path):
    save_network(build_network(info()), tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        load_network(tmp_path)
    save_network(build_network(info("resnet14t")), tmp_path / "other")
    (tmp_path / WEIGHTS).write_bytes((tmp_path / "other" / WEIGHTS).read_bytes())
    write_checksums(tmp_path)
    with pytest.raises(InputError, match=r"model\.safetensors cannot be loaded as resnet10t"):
        load_network(tmp_path)
    described = json.loads((tmp_path / INFO).read_text())
    (tmp_path / INFO).write_text(json.dumps(described | {"format_version": 2}))
    write_checksums(tmp_path)
    with pytest.raises(InputError, match="format_version"):
        load_network(tmp_path)
    (tmp_path / INFO).unlink()
    with pytest.raises(InputError, match=r"model\.json is missing"):
        load_network(tmp_path)


def test_unknown_names_are_refused_with_similar_names():
    with pytest.raises(InputError, match=r'"resnet51".*resnet50'):
        info("resnet51")
    with pytest.raises(InputError, match=r"vit_tiny_r_s16_p8_224 cannot be built for images of 112 px"):
        build_network(info("vit_tiny_r_s16_p8_224", 112))


@pytest.mark.parametrize(("size", "sizes"), [(225, "224 or 238"), (128, "126 or 140")])
def test_patches_that_do_not_divide_the_input_size_are_refused_with_sizes_that_fit(size, sizes):
    with pytest.raises(InputError, match=f"images of {size} px, because its patches have 14 px; set .* to {sizes}"):
        build_network(info("vit_small_patch14_dinov2", size))


def test_weights_for_another_input_size_are_recorded(tmp_path):
    torch.save(timm.create_model("test_vit", img_size=96).state_dict(), tmp_path / "w.pth")
    weights = str(tmp_path / "w.pth")
    network = build_network(info("test_vit", 64, weights))
    assert network.info.weights_resampled == ("pos_embed",)
    assert "made for another input size, so timm resampled pos_embed)" in network.info.initial_weights
    save_network(network, tmp_path / "model")
    assert read_info(tmp_path / "model") == network.info
    assert build_network(info("test_vit", 96, weights)).info.weights_resampled == ()


def test_weights_from_a_file_are_loaded_and_the_head_is_new(tmp_path):
    source = timm.create_model("resnet10t", num_classes=7)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    described = info(weights=str(tmp_path / "w.pth"))
    network = build_network(described)
    assert torch.equal(network.backbone.conv1[0].weight, source.conv1[0].weight)
    assert network.backbone.get_classifier().out_features == 2
    assert network.info.weights_sha256 == hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
