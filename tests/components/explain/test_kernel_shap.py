import numpy as np
import pytest
import torch
from shap import KernelExplainer

from components.explain.faithfulness import blurred
from components.explain.kernel_shap import find_regions, kernel_shap, margin_of, mean_colour
from components.shared.network.network import Network, build_network, describe


def network_of(architecture: str) -> Network:
    return build_network(describe(architecture, "none", 64, 1)).eval()


@pytest.fixture
def images() -> torch.Tensor:
    """Return images with four by four cells of random colours."""
    cells = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return cells.repeat_interleave(16, 2).repeat_interleave(16, 3)


def test_the_values_in_bf16_differ_little(dark_network, dark_images):
    images, _ = dark_images
    hidden, regions = mean_colour(images), find_regions(dark_network, images, 16)
    exact, rounded = (
        kernel_shap(margin_of(dark_network, precision), images, hidden, regions, coalitions=60, batch_size=32, seed=5)
        for precision in ("fp32", "bf16")
    )
    assert 0 < np.square(rounded - exact).mean() < 0.02**2 * np.square(exact).mean()


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_values_equal_those_of_the_network_called_once_per_coalition(architecture, images):
    network = network_of(architecture)
    hidden, regions = blurred(images, 4), find_regions(network, images, 16)
    margin = margin_of(network, "fp32")
    found = kernel_shap(margin, images, hidden, regions, coalitions=60, batch_size=7, seed=5)
    for index in range(2):
        labels = regions[index]
        assert labels.max() > 8

        @torch.inference_mode()
        def one_by_one(sets: np.ndarray, index: int = index, labels: np.ndarray = labels) -> np.ndarray:
            answers = []
            for shown in sets:
                masked = np.where(shown[labels] > 0.5, images[index].numpy(), hidden[index].numpy())
                answers.append(float(network(torch.from_numpy(masked)[None]).diff()))
            return np.array(answers)

        np.random.seed(5)
        count = labels.max() + 1
        explainer = KernelExplainer(one_by_one, np.zeros((1, count)))
        expected = explainer.shap_values(np.ones(count), nsamples=60, l1_reg=False, silent=True)
        np.testing.assert_allclose(found[index], expected[labels], atol=1e-4 * np.abs(expected).max())


def test_the_values_of_a_sum_are_its_terms(images):
    """The answer adds the brightness of the pixels in the left half and subtracts that in the right half."""
    regions = np.repeat(np.repeat(np.arange(16).reshape(1, 4, 4), 16, 1), 16, 2).repeat(2, 0)
    signs = torch.where(torch.arange(64) < 32, 1.0, -1.0)

    def margin(batch: torch.Tensor) -> torch.Tensor:
        return (batch.float().mean(dim=1) * signs).sum(dim=(1, 2))

    hidden = torch.zeros_like(images)
    found = kernel_shap(margin, images, hidden, regions, coalitions=40, batch_size=8, seed=0)
    for index in range(2):
        for region in range(16):
            inside = regions[index] == region
            expected = float(((images[index].float().mean(dim=0) * signs).numpy() * inside).sum())
            assert found[index][inside] == pytest.approx(expected, rel=1e-3)
    assert (found[:, :, :32] > 0).all()
    assert (found[:, :, 32:] < 0).all()


def test_the_global_random_state_is_restored(images):
    np.random.seed(3)
    expected = np.random.rand(4)
    np.random.seed(3)
    regions = find_regions(network_of("test_vit"), images, 4)
    kernel_shap(lambda batch: batch.float().mean(dim=(1, 2, 3)), images, images // 2, regions, 10, 8, seed=1)
    np.testing.assert_array_equal(np.random.rand(4), expected)


def test_a_transformers_regions_are_whole_patches(images):
    regions = find_regions(network_of("test_vit"), images, 9)  # patches of 16 px, four on each side
    patches = regions.reshape(2, 4, 16, 4, 16)
    assert (patches == patches[:, :, :1, :, :1]).all()
    assert np.unique(regions).tolist() == list(range(9))


def test_a_cnns_regions_follow_the_edges_of_the_image():
    image = torch.full((1, 3, 64, 64), 60, dtype=torch.uint8)
    image[:, :, :, 21:] = 200
    regions = find_regions(network_of("test_resnet"), image, 9)
    assert regions.min() == 0
    assert not set(regions[0, :, :21].ravel()) & set(regions[0, :, 21:].ravel())


@pytest.mark.parametrize("noise", [0, 15])
def test_camera_noise_does_not_reduce_the_number_of_regions(images, noise):
    """Without the blur, SLIC finds a single region in an image with noise of a few grey levels."""
    grain = noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    grainy = (images // 4 + 96 + grain).clamp(0, 255).to(torch.uint8)
    counts = find_regions(network_of("test_resnet"), grainy, 16).max(axis=(1, 2)) + 1
    assert (counts >= 12).all()


def test_the_mean_colour_is_each_images_own(images):
    hidden = mean_colour(images)
    assert hidden.shape == images.shape
    assert hidden[1, 2, 0, 0] == round(float(images[1, 2].float().mean()))
    assert (hidden == hidden[:, :, :1, :1]).all()
