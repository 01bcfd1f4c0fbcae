"""Choose the layer and the method whose class activation map is the most faithful to the network.

A map is faithful if the network's answer depends on the pixels that the map marks. The choice uses cracked tiles of the
validation split. The measures in measures.py use the robustness split, so the choice does not bias them.
"""

from dataclasses import dataclass
from itertools import product, starmap

import numpy as np
import torch

from components.explain.baselines import random_maps
from components.explain.config import ExplainConfig
from components.explain.faithfulness import perturbation_curves
from components.explain.intervals import MeanInterval, mean_interval
from components.explain.kernel_shap import margin_of
from components.shared.errors import InputError
from components.shared.network.grad_cam import CAM_METHODS, Cam, grad_cam
from components.shared.network.grad_cam_families import Target, find_target, find_targets
from components.shared.network.network import Network

MAX_LAYERS = 3
# Steps of the insertion and deletion curves. Few steps are enough to find out which map is the most faithful. The
# curves in measures.py have more steps.
CURVE_STEPS = 4
# A map with fewer than 4 cells on its shorter side cannot show where a crack is. A layer with more than 32 cells
# detects only edges.
SENSIBLE_GRID_SIDES = range(4, 33)


@dataclass(frozen=True)
class Tried:
    """A layer and a method that were tried together, and the faithfulness of their maps.

    The faithfulness of a map is the area under the insertion curve minus the area under the deletion curve. The
    attribute `faithfulness` is the mean over the tiles, -1 to 1.
    """

    cam: Cam
    faithfulness: float


@dataclass(frozen=True)
class CamChoice:
    """The chosen class activation map.

    Attributes:
        cam: Layer and method.
        tiles: Number of cracked validation tiles that decided the choice. It may be 0.
        tried: All layers and methods that were tried, the most faithful first. It is empty if there are no tiles.
        gain: Faithfulness of the chosen map minus the faithfulness of a random map with the same grid, and the 95 %
            interval of this difference. None if there are no tiles.
    """

    cam: Cam
    tiles: int = 0
    tried: tuple[Tried, ...] = ()
    gain: MeanInterval | None = None

    @property
    def is_faithful(self) -> bool:
        """Return whether the map is more faithful than a random map.

        This is true if the whole 95 % interval of `gain` is above 0.
        """
        return self.gain is not None and self.gain.low is not None and self.gain.low > 0


def choose_cam(
    network: Network, images: torch.Tensor, groups: np.ndarray, config: ExplainConfig, seed: int
) -> CamChoice:
    """Choose the layer and the method with the highest faithfulness on cracked validation tiles.

    At most MAX_LAYERS layers are tried. The first is the default layer, which `find_target` returns. The others are the
    deepest layers whose map has a sensible number of cells on its shorter side (SENSIBLE_GRID_SIDES). Each layer is
    tried with all CAM_METHODS.

    Args:
        network: In eval mode.
        images: uint8 (N, 3, H, W), cracked tiles on the network's device; may be empty.
        groups: (N,) group of each tile.
        config: Gives the blur, the batch size, the precision and the number of resamples.
        seed: Seed of the random maps.

    Returns:
        The choice. If there are no tiles, it is Grad-CAM of the default layer.

    Raises:
        InputError: Grad-CAM cannot read any layer of the network, every tried layer and method fails, or the network's
            answer is NaN or infinite.
    """
    default = Cam(find_target(network))
    if len(images) == 0:
        return CamChoice(default)

    faithfulness: dict[Cam, np.ndarray] = {}
    refusal = None
    for cam in _candidates(network, default.target):
        try:
            maps = grad_cam(network, cam, images, True, config.batch_size)
        except InputError as error:
            refusal = error
            continue
        faithfulness[cam] = _faithfulness(network, images, maps, config)
    if refusal is not None and not faithfulness:
        raise refusal

    tried = [Tried(cam, float(values.mean())) for cam, values in faithfulness.items()]
    tried.sort(key=lambda candidate: -candidate.faithfulness)
    best = tried[0].cam

    noise = random_maps(len(images), network.input_size, best.target.grid, seed)
    gain = faithfulness[best] - _faithfulness(network, images, noise, config)
    interval = mean_interval(gain, groups, config.resamples, "difference")
    return CamChoice(best, len(images), tuple(tried), interval)


def _candidates(network: Network, default: Target) -> list[Cam]:
    """Return the layers and methods to try, the default layer first.

    If another layer is equally faithful, the default layer is chosen.
    """
    layers = [default]
    for target in find_targets(network):
        is_sensible = min(target.grid) in SENSIBLE_GRID_SIDES
        if is_sensible and target.name != default.name and len(layers) < MAX_LAYERS:
            layers.append(target)
    return list(starmap(Cam, product(layers, CAM_METHODS)))


def _faithfulness(network: Network, images: torch.Tensor, maps: np.ndarray, config: ExplainConfig) -> np.ndarray:
    """Return the faithfulness of each map, float64 (N,)."""
    margin = margin_of(network, config.precision)

    def p_crack(batch: torch.Tensor) -> torch.Tensor:
        return margin(batch).sigmoid()

    blur = config.blur * network.input_size
    curves = perturbation_curves(p_crack, images, maps, CURVE_STEPS, blur, config.batch_size)
    return curves.insertion_auc - curves.deletion_auc
