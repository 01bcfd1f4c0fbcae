import numpy as np
import pytest
import torch

from components.explain.cam_choice import CURVE_STEPS, MAX_LAYERS, SENSIBLE_GRID_SIDES, choose_cam
from components.explain.config import ExplainConfig
from components.explain.faithfulness import perturbation_curves
from components.shared.errors import InputError
from components.shared.network.grad_cam import CAM_METHODS, grad_cam
from components.shared.network.grad_cam_families import find_target
from tests.components.shared.network.test_grad_cam import network_of

CONFIG = ExplainConfig(precision="fp32", resamples=200, batch_size=8)
NO_TILES = torch.empty((0, 3, 64, 64), dtype=torch.uint8)


def noise(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)


def test_the_most_faithful_candidate_is_chosen():
    network, images = network_of("test_resnet"), noise(4)
    choice = choose_cam(network, images, np.arange(4), CONFIG, 1)
    assert choice.tiles == 4
    assert len(choice.tried) == MAX_LAYERS * len(CAM_METHODS)
    assert choice.tried[0].cam == choice.cam
    assert choice.tried[0].faithfulness > choice.tried[-1].faithfulness
    for tried in choice.tried:
        assert min(tried.cam.target.grid) in SENSIBLE_GRID_SIDES

        def p_crack(batch: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return network(batch).softmax(1)[:, 1]

        maps = grad_cam(network, tried.cam, images, True, 8)
        curves = perturbation_curves(p_crack, images, maps, CURVE_STEPS, CONFIG.blur * 64, 8)
        expected = (curves.insertion_auc - curves.deletion_auc).mean()
        assert tried.faithfulness == pytest.approx(expected, abs=1e-5)


def test_a_network_that_looks_at_the_crack_is_more_faithful_than_a_random_map(dark_network, dark_images):
    choice = choose_cam(dark_network, dark_images[0], np.arange(8), CONFIG, 1)
    assert choice.cam.target.name == "stage"
    assert choice.gain.low > 0
    assert choice.is_faithful


def test_the_first_candidate_wins_if_others_are_equally_good(dark_network, dark_images):
    """In a network with one stage and a linear head, the three methods give the same map."""
    choice = choose_cam(dark_network, dark_images[0], np.arange(8), CONFIG, 1)
    assert len({tried.faithfulness for tried in choice.tried}) == 1
    assert choice.cam.method == "Grad-CAM"


def test_without_cracked_validation_tiles_the_size_of_the_grid_decides():
    network = network_of("test_resnet")
    choice = choose_cam(network, NO_TILES, np.array([]), CONFIG, 1)
    assert choice.cam.target.name == find_target(network).name
    assert choice.cam.method == "Grad-CAM"
    assert (choice.tiles, choice.tried, choice.gain, choice.is_faithful) == (0, (), None, False)


def test_one_photo_has_no_interval_and_so_no_faithful_layer(dark_network, dark_images):
    choice = choose_cam(dark_network, dark_images[0], np.zeros(8), CONFIG, 1)
    assert choice.gain.low is None
    assert not choice.is_faithful


def test_it_is_an_error_if_the_answer_depends_on_no_candidate(dark_network, dark_images):
    dark_network.backbone.head.weight.data[1] = 0
    with pytest.raises(InputError, match='layer "stage" has no gradient'):
        choose_cam(dark_network, dark_images[0], np.arange(8), CONFIG, 1)
