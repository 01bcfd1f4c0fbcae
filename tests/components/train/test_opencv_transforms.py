import colorsys

import numpy as np
import pytest

from components.train.opencv_transforms import FastColorJitter, FastGaussNoise
from components.train.quiet_albumentations import ColorJitter

COLOURS = np.random.default_rng(1).integers(60, 180, (16, 16, 3)).astype(np.uint8)


def luma(image):
    return image @ [0.299, 0.587, 0.114]


def jitter(image, seed, **strengths):
    """Return the image after a colour jitter with these strengths. All other strengths are 0."""
    nothing = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    transform = FastColorJitter(**{**nothing, **strengths}, p=1)
    transform.set_random_seed(seed)
    return transform(image=image)["image"]


@pytest.mark.parametrize(
    ("strength", "formula"),
    [
        ("brightness", lambda image, amount: image * (1 + amount)),
        ("contrast", lambda image, amount: image + amount * (image - luma(image).mean())),
        ("saturation", lambda image, amount: image + amount * (image - luma(image)[..., None])),
    ],
)
def test_brightness_contrast_and_saturation_change_as_their_formulas_say(strength, formula):
    found = []
    for seed in range(100):
        changed = jitter(COLOURS, seed, **{strength: 0.2}).astype(float)
        full = formula(COLOURS.astype(float), 1.0) - COLOURS
        amount = ((changed - COLOURS) * full).sum() / (full**2).sum()
        np.testing.assert_allclose(changed, formula(COLOURS.astype(float), amount), atol=1)
        found.append(amount)
    assert -0.21 < min(found) < -0.17
    assert 0.17 < max(found) < 0.21


@pytest.mark.parametrize("strength", ["brightness", "contrast", "saturation"])
def test_a_single_change_equals_that_of_albumentations(strength):
    ranges = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0), strength: (1.3, 1.3)}
    fast, stock = (kind(**ranges, p=1)(image=COLOURS)["image"] for kind in (FastColorJitter, ColorJitter))
    assert np.abs(fast.astype(int) - stock).max() <= 1


def test_hue_rotates_colours_and_changes_neither_grey_nor_brightness():
    grey, blue = np.full((4, 4, 3), 128, np.uint8), np.full((4, 4, 3), (90, 110, 150), np.uint8)
    hues = []
    for seed in range(100):
        assert (jitter(grey, seed, hue=0.1) == grey).all()
        rotated = jitter(blue, seed, hue=0.1)
        assert luma(rotated.astype(float)).mean() == pytest.approx(luma(blue).mean(), abs=1)
        hues.append(colorsys.rgb_to_hsv(*rotated[0, 0] / 255)[0] - colorsys.rgb_to_hsv(90, 110, 150)[0])
    assert -0.14 < min(hues) < -0.06
    assert 0.06 < max(hues) < 0.14


def test_noise_has_the_configured_strength_in_every_channel():
    grey = np.full((64, 64, 3), 128, np.uint8)
    transform = FastGaussNoise(std_range=(0.02, 0.1), p=1)
    strengths = []
    for seed in range(200):
        transform.set_random_seed(seed)
        noisy = transform(image=grey)["image"]
        assert noisy.mean() == pytest.approx(128, abs=1.5)
        strengths.append(noisy.std((0, 1)) / 255)
    assert 0.017 < np.min(strengths) < 0.03
    assert 0.09 < np.max(strengths) < 0.105
    assert np.ptp(strengths, axis=1).max() < 0.02
