"""Measure how good the maps of Grad-CAM and KernelSHAP are, compared with a random map and an edge filter."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy.stats import rankdata

from components.explain.config import ExplainConfig
from components.explain.faithfulness import blurred, perturbation_curves, road
from components.explain.intervals import mean_interval
from components.explain.kernel_shap import Margin, margin_of, mean_colour
from components.explain.localisation import best_iou, energy_inside, energy_ratio, pointing_game
from components.explain.maps import BASELINES, GRAD_CAM, METHODS, SHAP, draw_maps, explain_signed, random_network
from components.shared.network.grad_cam import Cam
from components.shared.network.grad_cam_families import find_target
from components.shared.network.network import Network
from components.shared.results.intervals import Scale
from components.shared.results.measurements import Measurement

# The three tables below list every measure and the scale of its mean. The comment above each table names the functions
# that compute its measures. To add a measure, add it to a table and to such a function.
# `_localisation` measures whether the map marks the crack.
LOCALISATION: dict[str, Scale] = {
    "pointing_game": "share",
    "energy_inside": "share",
    "energy_ratio": "loss",
    "best_iou": "share",
}
# `_faithfulness` measures whether the answer depends on the pixels that the map marks.
FAITHFULNESS: dict[str, Scale] = {
    "deletion_auc": "share",
    "insertion_auc": "share",
    "road": "difference",
}
# `_sanity_checks` and `_shap_sensitivity` measure whether we can trust a map. A map must depend on the network. It must
# not depend on noise or on the settings of KernelSHAP.
CHECKS: dict[str, Scale] = {
    "noise_stability": "signed",
    "random_weights_similarity": "signed",
    "empty": "share",
    "baseline_similarity": "signed",
    "coalitions_similarity": "signed",
    "hidden_p_crack": "share",
}
LOWER_IS_BETTER = {"deletion_auc"}
_SCALES = LOCALISATION | FAITHFULNESS | CHECKS
_CORRELATION = "rank correlation of two maps: one of"

Values = dict[str, np.ndarray]  # measure -> float64 (images,)


@dataclass(frozen=True)
class Sample:
    """The cracked images on which the maps are measured.

    Attributes:
        images: uint8 (N, 3, H, W), on the network's device.
        masks: bool (N, H, W), true on the crack.
        masked: bool (N,), true if the image has a mask.
        groups: (N,) group id of each image.
    """

    images: torch.Tensor
    masks: np.ndarray
    masked: np.ndarray
    groups: np.ndarray


def measure(network: Network, cam: Cam, sample: Sample, config: ExplainConfig, seed: int) -> list[Measurement]:
    """Measure Grad-CAM and KernelSHAP for the class crack on cracked images.

    Args:
        network: In eval mode.
        cam: Layer and method of the Grad-CAM maps.
        sample: The images; may be empty.
        config: Gives the steps of the curves, the coalitions, the tolerance, the noise and the resamples.
        seed: Seed of the coalitions, the random maps, the noise and the random weights.

    Returns:
        Measurements `MAP.MEASURE` for each map, `METHOD.MEASURE_over_BASELINE` for each comparison, and `MAP.CHECK` for
        each check. A comparison is the difference between a method and a baseline on the same images. The difference is
        positive if the method is better. The 95 % intervals are computed by bootstrap over groups. If no image can be
        measured, the value is NaN, and the note gives the reason.
    """
    if len(sample.groups) == 0:
        return _undefined((*LOCALISATION, *FAITHFULNESS), "the robustness split has no cracked tile")

    maps = draw_maps(network, cam, sample.images, len(sample.groups), config, seed)
    margin = margin_of(network, config.precision)
    values = {name: _faithfulness(margin, sample, drawn, config) for name, drawn in maps.items()}

    rows = []
    if sample.masked.any():
        tolerance = config.tolerance * network.input_size
        for name, drawn in maps.items():
            # Values below 0 speak against a crack. They may be anywhere in the image, so we ignore them here.
            evidence_for_crack = np.maximum(drawn, 0)
            values[name] |= _localisation(evidence_for_crack, sample, tolerance)
    else:
        rows += _undefined(LOCALISATION, "none of the measured tiles has a mask")

    rows += _compared(values, sample, config)
    rows += _sanity_checks(network, cam, sample, maps, config, seed)
    rows += _shap_sensitivity(network, sample, maps[SHAP], config, seed)
    return rows


def _faithfulness(margin: Margin, sample: Sample, maps: np.ndarray, config: ExplainConfig) -> Values:
    """Compute the measures in FAITHFULNESS on all images."""

    def p_crack(images: torch.Tensor) -> torch.Tensor:
        return margin(images).sigmoid()

    blur = config.blur * maps.shape[1]
    curves = perturbation_curves(p_crack, sample.images, maps, config.curve_steps, blur, config.batch_size)
    return {
        "deletion_auc": curves.deletion_auc,
        "insertion_auc": curves.insertion_auc,
        "road": road(p_crack, sample.images, maps, config.road, config.batch_size),
    }


def _localisation(maps: np.ndarray, sample: Sample, tolerance: float) -> Values:
    """Compute the measures in LOCALISATION on the images that have a mask."""
    maps, masks = maps[sample.masked], sample.masks[sample.masked]
    return {
        "pointing_game": pointing_game(maps, masks, tolerance),
        "energy_inside": energy_inside(maps, masks),
        "energy_ratio": energy_ratio(maps, masks),
        "best_iou": best_iou(maps, masks),
    }


def _compared(values: dict[str, Values], sample: Sample, config: ExplainConfig) -> list[Measurement]:
    """Return every measure of every map, and how much better each method is than each baseline."""
    rows = []
    for measured in values[GRAD_CAM]:
        groups = sample.groups if measured in FAITHFULNESS else sample.groups[sample.masked]
        for map_name in values:
            rows.append(_row(f"{map_name}.{measured}", values[map_name][measured], groups, config))

        sign = -1 if measured in LOWER_IS_BETTER else 1
        for method, baseline in product(METHODS, BASELINES):
            gain = sign * (values[method][measured] - values[baseline][measured])
            note = f"difference on the same tiles, above 0 if {method} is better"
            rows.append(_row(f"{method}.{measured}_over_{baseline}", gain, groups, config, note))
    return rows


def _sanity_checks(
    network: Network, cam: Cam, sample: Sample, maps: dict[str, np.ndarray], config: ExplainConfig, seed: int
) -> list[Measurement]:
    """Measure how much maps change if the image gets a little noise, and if the network gets random weights.

    A good map does not change with the noise, but changes with the random weights.

    Source: Adebayo et al. 2018, "Sanity checks for saliency maps"; all layers are randomised at once.
    """
    images, shap_images = sample.images, config.shap.sensitivity
    noise = config.noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    noisy_images = (images.cpu() + noise).round().clamp(0, 255).to(torch.uint8).to(images.device)
    of_noisy = draw_maps(network, cam, noisy_images, shap_images, config, seed, draw=1)

    random = random_network(network, seed + 1)
    same_cam = Cam(find_target(random, preferred=cam.target.name), cam.method)
    of_random = draw_maps(random, same_cam, images, shap_images, config, seed, draw=1)

    rows = []
    for check, others, note in (
        (
            "noise_stability",
            of_noisy,
            "the tile, one of the tile with a little noise; 1 means that the map does not change",
        ),
        (
            "random_weights_similarity",
            of_random,
            "the network, one of a network with random weights; near 1 means that the map depends on the tile only, "
            "not on the network",
        ),
    ):
        for name, other in others.items():
            correlation = rank_correlation(maps[name], other)
            rows.append(_row(f"{name}.{check}", correlation, sample.groups, config, f"{_CORRELATION} {note}"))

    empty = (maps[GRAD_CAM].max(axis=(1, 2)) == 0).astype(float)
    note = "share of the cracked tiles for which the map is empty"
    rows.append(_row(f"{GRAD_CAM}.empty", empty, sample.groups, config, note))
    return rows


def _shap_sensitivity(
    network: Network, sample: Sample, signed: np.ndarray, config: ExplainConfig, seed: int
) -> list[Measurement]:
    """Measure how much KernelSHAP maps depend on two settings: the colour that hides a region, and the coalitions."""
    margin = margin_of(network, config.precision)
    blurred_images = blurred(sample.images, config.blur * network.input_size)
    margins = torch.cat(list(map(margin, blurred_images.split(config.batch_size))))
    p_crack = margins.sigmoid().double().cpu().numpy()
    note = "mean P(crack) of completely blurred tiles; if it is high, the answer hardly changes when regions are hidden"
    rows = [_row(f"{SHAP}.hidden_p_crack", p_crack, sample.groups, config, note)]

    images = sample.images[: config.shap.sensitivity]
    of_mean_colour = explain_signed(network, images, mean_colour(images), config, seed)
    note = (
        "rank correlation of two maps: SHAP hides regions with a blur for one, and with the mean colour for the other; "
        "1 means the same order of regions"
    )
    correlation = rank_correlation(signed, of_mean_colour)
    rows.append(_row(f"{SHAP}.baseline_similarity", correlation, sample.groups, config, note))

    half = config.shap.coalitions // 2
    fewer = config.model_copy(update={"shap": config.shap.model_copy(update={"coalitions": half})})
    of_fewer = explain_signed(network, images, blurred_images[: len(images)], fewer, seed + 1)
    note = (
        f"rank correlation of two maps: one from {config.shap.coalitions} coalitions (sets of regions), one from "
        f"{half} new coalitions; 1 means that {config.shap.coalitions} coalitions are enough"
    )
    correlation = rank_correlation(signed, of_fewer)
    rows.append(_row(f"{SHAP}.coalitions_similarity", correlation, sample.groups, config, note))
    return rows


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the Spearman correlation of each pair of maps. It is 0 if one of the two maps is constant.

    Args:
        first: float (N, H, W).
        second: float (n, H, W) with n <= N. These maps are compared with the first n maps in `first`.

    Returns:
        float64 (n,) in [-1, 1].
    """
    count = len(second)
    first_ranks = _centred_ranks(first[:count])
    second_ranks = _centred_ranks(second)
    covariance = (first_ranks * second_ranks).sum(axis=1)
    scale = np.sqrt((first_ranks**2).sum(axis=1) * (second_ranks**2).sum(axis=1))
    return np.divide(covariance, scale, out=np.zeros(count), where=scale > 0)


def _centred_ranks(maps: np.ndarray) -> np.ndarray:
    ranks = rankdata(maps.reshape(len(maps), -1), axis=1)
    return ranks - ranks.mean(axis=1, keepdims=True)


def _row(name: str, values: np.ndarray, groups: np.ndarray, config: ExplainConfig, note: str = "") -> Measurement:
    measured = name.rpartition(".")[2]
    scale = _SCALES.get(measured, "difference")
    value, low, high = mean_interval(values, groups[: len(values)], config.resamples, scale)

    is_difference_of_shares = scale == "difference" and "energy_ratio" not in measured
    if is_difference_of_shares and low is not None and high is not None:
        low, high = max(low, -1.0), min(high, 1.0)
    return Measurement(name, value, split="robustness", low=low, high=high, n=len(values), note=note)


def _undefined(measures: tuple[str, ...] | dict[str, Scale], why: str) -> list[Measurement]:
    rows = []
    for method in METHODS:
        for name in measures:
            rows.append(Measurement(f"{method}.{name}", float("nan"), split="robustness", note=why))
    return rows
