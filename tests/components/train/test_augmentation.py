import colorsys
from collections import Counter

import numpy as np
import pytest

from components.train.augmentation import build_augmentation
from components.train.config import AugmentConfig


def luma(image):
    return image @ [0.299, 0.587, 0.114]


def only(**strengths):
    """An augmentation with these strengths, and 0 for the others."""
    nothing = {"rotation": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "noise": 0}
    return build_augmentation(AugmentConfig(**{**nothing, **strengths}))


def test_noise_has_the_configured_strength_and_depends_on_the_seed_only():
    grey = np.full((64, 64, 3), 128, np.uint8)
    noise = only(noise=0.1)
    noisy = [noise(grey, seed) for seed in range(200)]
    assert all((noise(grey, seed) == image).all() for seed, image in enumerate(noisy))
    strengths = np.array([image.std((0, 1)) / 255 for image in noisy])
    noisy_strengths = strengths[strengths.max(axis=1) > 0]
    assert 70 < len(noisy_strengths) < 130
    assert 0.085 < noisy_strengths.max() < 0.105
    assert np.ptp(noisy_strengths, axis=1).max() < 0.02  # the same in every channel
    assert (only()(grey, 1) == grey).all()


def test_an_image_is_rotated_about_its_centre_up_to_the_limit_and_its_corners_are_filled():
    line = np.full((65, 65, 3), 200, np.uint8)
    line[:, 31:34] = 20
    angles = []
    for seed in range(100):
        rotated = only(rotation=30)(line, seed)
        rows, columns = np.nonzero(rotated[..., 0] < 60)
        assert (rotated[[0, 0, -1, -1], [0, -1, 0, -1]] == 200).all()
        assert columns.mean() == pytest.approx(32, abs=0.5)
        angles.append(np.degrees(np.arctan(np.polyfit(rows, columns, 1)[0])))
    assert -31 < min(angles) < -25
    assert 25 < max(angles) < 31
    assert sum(abs(angle) < 0.01 for angle in angles) == pytest.approx(20, abs=12)


def test_mirroring_gives_each_of_the_four_views_equally_often():
    image = np.random.default_rng(1).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    views = [image[::down, ::along].tobytes() for down in (1, -1) for along in (1, -1)]
    counts = Counter(views.index(only(flip=True)(image, seed).tobytes()) for seed in range(400))
    assert min(counts[view] for view in range(4)) > 60


@pytest.mark.parametrize(
    ("strength", "formula"),
    [
        ("brightness", lambda image, amount: image * (1 + amount)),
        ("contrast", lambda image, amount: image + amount * (image - luma(image).mean())),
        ("saturation", lambda image, amount: image + amount * (image - luma(image)[..., None])),
    ],
)
def test_brightness_contrast_and_saturation_change_as_their_formulas_say(strength, formula):
    image = np.random.default_rng(1).integers(60, 180, (16, 16, 3)).astype(np.uint8)
    found = []
    for seed in range(100):
        changed = only(**{strength: 0.2})(image, seed).astype(float)
        full = formula(image.astype(float), 1.0) - image
        amount = ((changed - image) * full).sum() / (full**2).sum()
        np.testing.assert_allclose(changed, formula(image.astype(float), amount), atol=0.8)
        found.append(amount)
    assert -0.21 < min(found) < -0.17
    assert 0.17 < max(found) < 0.21


def test_hue_rotates_colours_and_changes_neither_grey_nor_brightness():
    grey, blue = np.full((4, 4, 3), 128, np.uint8), np.full((4, 4, 3), (90, 110, 150), np.uint8)
    rotate_hue = only(hue=0.1)
    hues = []
    for seed in range(100):
        assert (rotate_hue(grey, seed) == grey).all()
        rotated = rotate_hue(blue, seed)
        assert luma(rotated.astype(float)).mean() == pytest.approx(luma(blue).mean(), abs=1)
        hues.append(colorsys.rgb_to_hsv(*rotated[0, 0] / 255)[0] - colorsys.rgb_to_hsv(90, 110, 150)[0])
    assert -0.14 < min(hues) < -0.06
    assert 0.06 < max(hues) < 0.14
