import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import shannon_entropy

from components.shared.image_features import FEATURES, describe_image, describe_images


def even(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((64, 64, 3), (red, green, blue), np.uint8)


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(128, 400, (64, 64))
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.repeat(np.clip(smooth, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_an_even_image():
    found = describe_image(even(204, 102, 51))
    assert found["brightness"] == pytest.approx((0.299 * 204 + 0.587 * 102 + 0.114 * 51) / 255, abs=1e-3)
    assert found["saturation"] == pytest.approx(153 / 255)
    assert found["warmth"] == pytest.approx(153 / 255)
    assert [found[name] for name in ("contrast", "entropy", "edge_density", "noise")] == pytest.approx(
        [0] * 4, abs=1e-6
    )


def test_contrast_and_entropy_are_the_usual_ones():
    image = texture()
    grey = image[..., 0]
    found = describe_image(image)
    assert found["contrast"] == pytest.approx(grey.std() / 255, rel=1e-4)
    assert found["entropy"] == pytest.approx(shannon_entropy(grey), rel=1e-4)


def test_sharpness_edges_and_fine_detail_equal_scipys_filters():
    image = cv2.resize(np.random.default_rng(1).integers(0, 256, (24, 24, 3)).astype(np.uint8), (96, 80))
    grey = image.astype(float) @ (0.299, 0.587, 0.114) / 255
    found = describe_image(image)
    assert found["sharpness"] == pytest.approx(np.log(ndimage.laplace(grey, mode="mirror").var()), rel=1e-3)
    slope = np.hypot(*(ndimage.sobel(grey, axis, mode="mirror") / 8 for axis in (0, 1)))
    assert 0.1 < found["edge_density"] < 0.9
    assert found["edge_density"] == pytest.approx((slope > 0.1).mean(), abs=1e-3)
    blurred = ndimage.gaussian_filter(grey, 1, mode="mirror", truncate=4)
    assert found["fine_detail"] == pytest.approx((grey - blurred).std(), rel=1e-3)


def test_noise_is_estimated_in_its_own_unit():
    rng = np.random.default_rng(0)
    for sigma in (4, 12):
        grey = np.clip(np.rint(128 + rng.normal(0, sigma, (128, 128, 1))), 0, 255).astype(np.uint8)
        found = describe_image(np.repeat(grey, 3, axis=2))["noise"] * 255
        assert found == pytest.approx(sigma, rel=0.06)


@pytest.mark.parametrize(
    ("change", "falls"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 2), ["sharpness", "edge_density", "fine_detail"]),
        (lambda image: (0.8 * image).astype(np.uint8), ["brightness", "contrast"]),
    ],
)
def test_what_happens_to_an_image_shows(change, falls):
    before, after = describe_image(texture()), describe_image(change(texture()))
    for name in falls:
        assert after[name] < before[name], name


def test_rows_follow_the_images():
    table = describe_images([even(0, 0, 0), even(255, 255, 255)])
    assert tuple(table.columns) == FEATURES
    assert table["brightness"].tolist() == pytest.approx([0, 1])
