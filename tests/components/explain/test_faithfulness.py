import cv2
import numpy as np
import pytest
import torch

from components.explain.faithfulness import perturbation_curves, rank_pixels, road


def patch_score(images: torch.Tensor) -> torch.Tensor:
    """Return P(crack): it is high if the upper left quarter is dark."""
    return 1 - images[:, :, :8, :8].float().mean(dim=(1, 2, 3)) / 255


@pytest.fixture
def images() -> torch.Tensor:
    images = torch.full((2, 3, 32, 32), 230, dtype=torch.uint8)
    images[:, :, :8, :8] = 10
    return images


def true_map() -> np.ndarray:
    found = np.zeros((2, 32, 32), np.float32)
    found[:, :8, :8] = 1
    return found


def test_curves_equal_masking_pixel_by_pixel(images):
    maps = np.random.default_rng(0).random((2, 32, 32)).astype(np.float32)
    curves = perturbation_curves(patch_score, images, maps, steps=4, blur=3, batch_size=5)
    for index in range(2):
        image = images[index].permute(1, 2, 0).numpy()
        hidden = cv2.GaussianBlur(image, (0, 0), 3)
        order = np.argsort(-maps[index].ravel())
        for step in range(5):
            first = np.zeros(32 * 32, bool)
            first[order[: step * 256]] = True
            first = first.reshape(32, 32, 1)
            for curve, kept in (
                (curves.deletion, np.where(first, hidden, image)),
                (curves.insertion, np.where(first, image, hidden)),
            ):
                expected = 1 - kept[:8, :8].mean() / 255
                assert curve[index, step] == pytest.approx(expected, abs=1e-5)
    assert curves.deletion_auc == pytest.approx(np.trapezoid(curves.deletion, np.linspace(0, 1, 5), axis=1))


def test_the_true_map_beats_its_opposite_and_noise(images):
    noise = np.random.default_rng(0).random((2, 32, 32)).astype(np.float32)
    best, worst, random = (
        perturbation_curves(patch_score, images, maps, steps=8, blur=4, batch_size=64)
        for maps in (true_map(), 1 - true_map(), noise)
    )
    assert (best.deletion_auc < random.deletion_auc).all()
    assert (random.deletion_auc < worst.deletion_auc).all()
    assert (best.insertion_auc > random.insertion_auc).all()
    assert (random.insertion_auc > worst.insertion_auc).all()


def test_the_batch_size_does_not_change_the_curves(images):
    one, many = (perturbation_curves(patch_score, images, true_map(), 6, 4, size) for size in (1, 1000))
    np.testing.assert_array_equal(one.deletion, many.deletion)
    np.testing.assert_array_equal(one.insertion, many.insertion)


def test_pixels_with_equal_values_have_a_random_order():
    ranks = rank_pixels(np.zeros((1, 32, 32), np.float32))[0]
    assert sorted(ranks.ravel()) == pytest.approx(np.arange(1024) / 1024)
    assert abs(ranks[:16].mean() - ranks[16:].mean()) < 0.05


def test_road_is_the_difference_of_both_removals(images):
    """Removing the dark quarter makes the image bright. Removing as many other pixels does not change the answer."""
    right, wrong, nothing = (
        road(patch_score, images, maps, (93.75,), batch_size=1) for maps in (true_map(), 1 - true_map(), 0 * true_map())
    )
    assert (right > 0.2).all()
    assert wrong == pytest.approx(-right, abs=0.05)
    assert (np.abs(nothing) < 0.1).all()
    np.testing.assert_array_equal(right, road(patch_score, images, true_map(), (93.75,), batch_size=8))
