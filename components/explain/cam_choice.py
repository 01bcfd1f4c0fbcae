"""Which layer and which kind of class activation map explain a network best? The one that is most faithful.

Candidates are compared on cracked validation tiles, which the measures of the robustness split do not use.
"""

from dataclasses import dataclass
from itertools import product, starmap

import numpy as np
import torch

from components.explain.baselines import random_maps
from components.explain.config import ExplainConfig
from components.explain.faithfulness import perturbation_curves
from components.explain.grad_cam import CAM_METHODS, Cam, grad_cam
from components.explain.grad_cam_families import Target, find_target, find_targets
from components.explain.intervals import MeanInterval, mean_interval
from components.explain.kernel_shap import margin_of
from components.shared.errors import InputError
from components.shared.network.network import Network

MAX_LAYERS = 3
# Fewer than the measures use: only the order of the candidates matters.
CURVE_STEPS = 4
# Coarser maps cannot point at a crack; in finer ones, a network sees edges only.
SENSIBLE_GRID_SIDES = range(4, 33)


@dataclass(frozen=True)
class Tried:
    """One candidate and its faithfulness: mean over the tiles of insertion minus deletion area, -1 to 1."""

    cam: Cam
    faithfulness: float


@dataclass(frozen=True)
class CamChoice:
    """The chosen map.

    Attributes:
        cam: Layer and method.
        tiles: Number of validation tiles that it was chosen on; 0 if there was no cracked tile.
        tried: All candidates, the most faithful first; empty without tiles.
        gain: Faithfulness minus that of a random map of the same grid, with its 95 % interval; None without tiles.
    """

    cam: Cam
    tiles: int = 0
    tried: tuple[Tried, ...] = ()
    gain: MeanInterval | None = None

    @property
    def is_faithful(self) -> bool:
        """Whether the whole interval of the gain is above 0."""
        return self.gain is not None and self.gain.low is not None and self.gain.low > 0


def choose_cam(
    network: Network, images: torch.Tensor, groups: np.ndarray, config: ExplainConfig, seed: int
) -> CamChoice:
    """Choose layer and method by their faithfulness on cracked validation tiles.

    Candidates are up to MAX_LAYERS of the deepest layers with a grid of a sensible size, each with all CAM_METHODS.

    Args:
        network: In eval mode.
        images: uint8 (N, 3, H, W), cracked tiles on the network's device; may be empty.
        groups: (N,) group of each tile.
        config: Blur, batch size, precision, resamples.
        seed: Seed of the random map.

    Returns:
        The choice; without tiles, Grad-CAM of `find_target`.

    Raises:
        InputError: Grad-CAM knows no layer of the network, or the answer depends on none of the candidates.
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
    """The default layer first, so that it is kept if another one is only as faithful."""
    layers = [default]
    for target in find_targets(network):
        is_sensible = min(target.grid) in SENSIBLE_GRID_SIDES
        if is_sensible and target.name != default.name and len(layers) < MAX_LAYERS:
            layers.append(target)
    return list(starmap(Cam, product(layers, CAM_METHODS)))


def _faithfulness(network: Network, images: torch.Tensor, maps: np.ndarray, config: ExplainConfig) -> np.ndarray:
    """Insertion minus deletion area of each map: float64 (N,)."""
    margin = margin_of(network, config.precision)

    def p_crack(batch: torch.Tensor) -> torch.Tensor:
        return margin(batch).sigmoid()

    blur = config.blur * network.input_size
    curves = perturbation_curves(p_crack, images, maps, CURVE_STEPS, blur, config.batch_size)
    return curves.insertion_auc - curves.deletion_auc
