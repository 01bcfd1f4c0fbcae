import hashlib
from itertools import pairwise

import cv2
import numpy as np
import pytest

from components.predict.config import CorruptionConfig
from components.predict.corruptions import FAMILIES, corrupt

ONE = hashlib.sha256(b"one").hexdigest()


@pytest.fixture(scope="module")
def concrete() -> np.ndarray:
    """Return an image that is not square. It is grey with speckles and has one dark line."""
    rng = np.random.default_rng(0)
    speckle = cv2.GaussianBlur(rng.normal(size=(96, 128)), (0, 0), 1.5)
    image = np.repeat((150 + 60 * speckle)[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)
    cv2.line(image, (10, 5), (110, 90), (40, 40, 40), 2)
    return image


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_higher_severity_changes_the_image_more_and_a_view_is_always_the_same(family, concrete):
    before = concrete.copy()
    views = [corrupt(concrete, family, severity, ONE) for severity in (1, 2, 3, 4, 5)]
    assert all(view.shape == concrete.shape and view.dtype == np.uint8 for view in views)
    mean = [
        np.mean([distance(concrete, corrupt(concrete, family, severity, hashlib.sha256(b"%d" % n).hexdigest()))
                 for n in range(12)])
        for severity in (1, 2, 3, 4, 5)
    ]  # fmt: skip
    assert mean[0] > 0.5
    assert all(weaker < stronger for weaker, stronger in pairwise(mean)), mean
    np.testing.assert_array_equal(views[2], corrupt(concrete, family, 3, ONE))
    np.testing.assert_array_equal(concrete, before)  # the argument is not changed


@pytest.mark.parametrize("family", ["motion_blur", "gaussian_noise", "low_light", "oblique_view", "shadow", "stain"])
def test_images_get_different_random_values(family, concrete):
    # two images can get the same one of four sides by chance, but not all eight images
    views = {corrupt(concrete, family, 3, hashlib.sha256(b"%d" % n).hexdigest()).tobytes() for n in range(8)}
    assert len(views) > 1


def test_each_family_changes_brightness_or_detail_as_expected(concrete):
    def detail(image: np.ndarray) -> float:
        return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())

    strong = {family: corrupt(concrete, family, 5, ONE) for family in FAMILIES}
    assert strong["low_light"].mean() < 0.2 * concrete.mean()
    assert strong["over_exposure"].mean() > 1.3 * concrete.mean()
    assert strong["shadow"].mean() < concrete.mean() > strong["stain"].mean()
    for family in ("motion_blur", "defocus", "down_sampling"):
        assert detail(strong[family]) < 0.3 * detail(concrete), family
    assert detail(strong["gaussian_noise"]) > 3 * detail(concrete)
    blocks = np.abs(np.diff(strong["jpeg"].astype(float), axis=1)).mean(axis=(0, 2))
    assert blocks[7::8].mean() > 1.5 * np.delete(blocks, np.s_[7::8]).mean()  # the seams of JPEG's 8 x 8 blocks


def test_every_family_of_the_configuration_exists():
    assert set(CorruptionConfig().families) == set(FAMILIES)
