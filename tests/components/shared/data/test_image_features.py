import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import shannon_entropy

from components.shared.data.image_features import FEATURES, LOG_OFFSET, describe_image, describe_images


def even(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((64, 64, 3), (red, green, blue), np.uint8)


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(128, 400, (64, 64))
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.repeat(np.clip(smooth, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def ratio(first: float, second: float) -> float:
    return np.log((first + LOG_OFFSET) / (second + LOG_OFFSET))


def test_an_even_image():
    found, light = describe_image(even(204, 102, 51)), (0.299 * 204 + 0.587 * 102 + 0.114 * 51) / 255
    assert found["brightness"] == pytest.approx(np.log(light + LOG_OFFSET), abs=1e-3)
    assert found["saturation"] == pytest.approx(ratio(153 / 255, light), abs=1e-3)
    assert found["warmth"] == pytest.approx(ratio(204 / 255, 51 / 255))
    assert [found[name] for name in ("entropy", "edge_density")] == pytest.approx([0] * 2, abs=1e-6)
    assert [found[name] for name in ("contrast", "noise")] == pytest.approx([np.log(LOG_OFFSET)] * 2, abs=1e-3)
    assert found["roughness"] == pytest.approx(ratio(0, light), abs=1e-3)


def test_contrast_and_entropy_are_the_usual_ones():
    image = texture()
    grey = image[..., 0]
    found = describe_image(image)
    assert np.exp(found["contrast"]) - LOG_OFFSET == pytest.approx(grey.std() / 255, rel=1e-4)
    assert found["entropy"] == pytest.approx(shannon_entropy(grey), rel=1e-4)


def test_sharpness_edges_and_roughness_equal_scipys_filters():
    image = cv2.resize(np.random.default_rng(1).integers(0, 256, (24, 24, 3)).astype(np.uint8), (96, 80))
    grey = image.astype(float) @ (0.299, 0.587, 0.114) / 255
    found = describe_image(image)
    assert found["sharpness"] == pytest.approx(np.log(ndimage.laplace(grey, mode="mirror").var()), rel=1e-3)
    slope = np.hypot(*(ndimage.sobel(grey, axis, mode="mirror") / 8 for axis in (0, 1)))
    assert 0.1 < found["edge_density"] < 0.9
    assert found["edge_density"] ** 2 == pytest.approx((slope > 0.1).mean(), abs=1e-3)
    assert found["roughness"] == pytest.approx(ratio(slope.mean(), grey.mean()), rel=1e-3)


def test_less_light_leaves_what_concrete_looks_like():
    bright = texture() // 2 + np.array([90, 80, 60], np.uint8)
    before, after = describe_image(bright), describe_image((0.5 * bright).astype(np.uint8))
    assert after["brightness"] - before["brightness"] == pytest.approx(np.log(0.5), abs=0.02)
    for name in ("saturation", "warmth", "roughness"):
        assert after[name] == pytest.approx(before[name], abs=0.03), name


def test_noise_is_estimated_in_its_own_unit():
    rng = np.random.default_rng(0)
    for sigma in (4, 12):
        grey = np.clip(np.rint(128 + rng.normal(0, sigma, (128, 128, 1))), 0, 255).astype(np.uint8)
        found = 255 * (np.exp(describe_image(np.repeat(grey, 3, axis=2))["noise"]) - LOG_OFFSET)
        assert found == pytest.approx(sigma, rel=0.06)


@pytest.mark.parametrize(
    ("change", "falls"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 2), ["sharpness", "edge_density", "roughness"]),
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
    assert table["brightness"].tolist() == pytest.approx([np.log(LOG_OFFSET), np.log(1 + LOG_OFFSET)], abs=1e-6)
