import cv2
import numpy as np
import pytest
import timm
import torch

from components.shared.errors import InputError
from components.shared.network.grad_cam import CAM_METHODS, Cam, grad_cam
from components.shared.network.grad_cam_families import find_target, find_targets
from components.shared.network.network import Network, build_network, describe

FAMILIES = [
    ("test_resnet", {}, (8, 8)),
    ("test_efficientnet", {}, (8, 8)),
    ("test_convnext", {}, (8, 8)),
    ("test_vit", {"img_size": 64}, (4, 4)),
    ("deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 2}, (4, 4)),
    ("cait_xxs24_224", {"img_size": 64, "depth": 2}, (4, 4)),  # its class token joins late
    ("mixer_s32_224", {"img_size": 64}, (2, 2)),
    (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "embed_dim": 24, "depths": (1, 1, 1), "num_heads": (2, 2, 2)},
        (8, 8),
    ),
]


def network_of(architecture: str, size: int = 64, **options) -> Network:
    torch.manual_seed(3)
    info = describe("resnet18", "none", size, 3).model_copy(update={"architecture": architecture})
    network = Network(timm.create_model(architecture, num_classes=2, **options), info).eval()
    for weights in network.parameters():
        if not weights.any():  # timm starts some heads at zero
            torch.nn.init.normal_(weights, std=0.02)
    return network


@pytest.mark.parametrize(("architecture", "options", "grid"), FAMILIES)
def test_the_layer_is_found_and_gives_a_map(architecture, options, grid):
    network, size = network_of(architecture, **options), 64
    target = find_target(network)
    assert tuple(target.grid) == grid
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    both = [grad_cam(network, Cam(target), images, crack, batch_size=2) for crack in (False, True)]
    assert all(maps.shape == (2, size, size) for maps in both)
    assert max(maps.max() for maps in both) == pytest.approx(1)


@pytest.mark.parametrize("method", CAM_METHODS)
@pytest.mark.parametrize(("architecture", "options"), [(name, options) for name, options, _ in FAMILIES])
def test_every_method_maps_every_readable_layer(architecture, options, method):
    network, images = network_of(architecture, **options), torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    for target in find_targets(network):  # the map of a layer with one cell is empty
        both = [grad_cam(network, Cam(target, method), images, crack, batch_size=2) for crack in (False, True)]
        assert all(maps.shape == (2, 64, 64) for maps in both)
        assert all(maps.min() >= 0 and maps.max() <= 1 + 1e-6 for maps in both)


@pytest.mark.parametrize(("row", "column"), [(16, 48), (48, 16)])
@pytest.mark.parametrize(("architecture", "options", "grid"), FAMILIES)
def test_the_layers_map_is_oriented_like_the_image(architecture, options, grid, row, column):
    """The layer's output changes most at the place where the image changes."""
    network = network_of(architecture, **options)
    image = torch.randint(90, 140, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[:, :, row - 4 : row + 4, column - 4 : column + 4] = 255
    target, kept = find_target(network), []
    target.layer.register_forward_hook(lambda module, args, output: kept.append(target.reshape(output)))
    with torch.inference_mode():
        network(image), network(changed)
    change = (kept[1] - kept[0]).abs().sum(dim=1)[0]
    place = np.array(np.unravel_index(int(change.argmax()), change.shape))
    assert (np.abs((place + 0.5) / grid - (row / 64, column / 64)) <= 1 / np.array(grid)).all()


@pytest.mark.parametrize(("architecture", "options"), [("test_resnet", {}), ("test_vit", {"img_size": 64})])
def test_the_map_equals_the_papers_equations(architecture, options):
    """The expected map is computed from autograd's gradients with the equations of the paper."""
    network = network_of(architecture, **options)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    target, kept = find_target(network), []
    handle = target.layer.register_forward_hook(lambda module, args, output: kept.append(output))
    logits = network(images)
    handle.remove()
    gradients = torch.autograd.grad(logits[:, 1].sum(), kept[0])[0]
    activations, gradients = target.reshape(kept[0]).detach(), target.reshape(gradients)
    expected = (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1).relu().numpy()
    found = grad_cam(network, Cam(target), images, True, batch_size=2)
    for map_, coarse in zip(found, expected, strict=True):
        enlarged = cv2.resize(coarse - coarse.min(), (64, 64))
        np.testing.assert_allclose(map_, enlarged / (enlarged.max() or 1), atol=1e-4)


def test_the_map_marks_the_cell_that_decides_the_answer(dark_network, dark_images):
    images, masks = dark_images
    maps = grad_cam(dark_network, Cam(find_target(dark_network)), images, True, batch_size=3)
    for map_, mask in zip(maps, masks.numpy(), strict=True):
        assert mask[np.unravel_index(map_.argmax(), map_.shape)]
        assert map_[mask].mean() > 5 * map_[~mask].mean()


def test_a_layer_that_the_answer_does_not_depend_on_is_an_error(dark_network, dark_images):
    """The logit of this class is constant, so a map of it would show nothing."""
    dark_network.backbone.head.weight.data[0] = 0
    with pytest.raises(InputError, match=r'test_resnet for no_crack is zero everywhere: layer "stage"'):
        grad_cam(dark_network, Cam(find_target(dark_network)), dark_images[0], False, batch_size=8)


def test_a_network_without_a_map_is_refused(dark_network):
    dark_network.backbone.feature_info = []
    with pytest.raises(InputError, match="Grad-CAM cannot read any layer of test_resnet"):
        find_target(dark_network)


def test_stages_without_a_map_are_refused(dark_network):
    dark_network.backbone.feature_info = [{"module": "head", "num_chs": 2}]
    with pytest.raises(InputError, match=r"none of its stages \(head\) gives a map"):
        find_target(dark_network)


@pytest.mark.parametrize("architecture", ["hiera_tiny_224", "levit_128s"])
def test_a_transformer_without_a_known_patch_grid_is_refused(architecture):
    """The tokens of Hiera have another order than the image, so a map of them would show nothing."""
    with pytest.raises(InputError, match=f"Grad-CAM cannot read any layer of {architecture}"):
        find_target(network_of(architecture, size=224))


@pytest.mark.parametrize(("size", "layer"), [(64, "layer2"), (128, "layer3"), (224, "layer4")])
def test_small_tiles_are_explained_by_an_earlier_stage(size, layer):
    """On small tiles, the last stage is too coarse for a crack."""
    network = build_network(describe("resnet18", "none", size, 3)).eval()
    assert find_target(network).name == layer
