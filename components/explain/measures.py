"""How good the explanations are: every measure beside a random map and a plain edge filter."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy.stats import rankdata

from components.explain.config import ExplainConfig
from components.explain.faithfulness import blurred, perturbation_curves, road
from components.explain.kernel_shap import Margin, margin_of, mean_colour
from components.explain.localisation import best_iou, energy_inside, energy_ratio, pointing_game
from components.explain.maps import BASELINES, GRAD_CAM, METHODS, SHAP, draw_maps, explain_signed, random_network
from components.shared.network.network import Network
from components.shared.results.intervals import Scale, draw_groups, group_codes, interval, one_twice
from components.shared.results.measurements import Measurement

LOCALISATION = ("pointing_game", "energy_inside", "energy_ratio", "best_iou")
FAITHFULNESS = ("deletion_auc", "insertion_auc", "road")
CHECKS = (
    *("noise_stability", "random_weights_similarity", "empty"),
    *("baseline_similarity", "coalitions_similarity", "hidden_p_crack"),
)
LOWER_IS_BETTER = {"deletion_auc"}
SCALES: dict[str, Scale] = {  # of the measures' means; what is not named here is a difference
    **dict.fromkeys(("pointing_game", "energy_inside", "best_iou", "deletion_auc", "insertion_auc"), "share"),
    **dict.fromkeys(("empty", "hidden_p_crack"), "share"),
    **dict.fromkeys(("noise_stability", "random_weights_similarity"), "signed"),
    **dict.fromkeys(("baseline_similarity", "coalitions_similarity"), "signed"),
    "energy_ratio": "loss",
}
_CORRELATION = "rank correlation with the map of"


@dataclass(frozen=True)
class Sample:
    """Cracked images to measure on.

    Attributes:
        images: uint8 (N, 3, H, W), on the network's device.
        masks: bool (N, H, W), true on the crack.
        masked: bool (N,), where a mask is known.
        groups: (N,) group of each image.
    """

    images: torch.Tensor
    masks: np.ndarray
    masked: np.ndarray
    groups: np.ndarray


def measure(network: Network, sample: Sample, config: ExplainConfig, seed: int) -> list[Measurement]:
    """Measure Grad-CAM and KernelSHAP for the class crack on cracked images.

    Args:
        network: In eval mode.
        sample: The images; may be empty.
        config: Steps, coalitions, tolerance, noise, resamples.
        seed: Of the coalitions, the random maps, the noise and the randomised weights.

    Returns:
        Rows `MAP.MEASURE` for each map, `METHOD.MEASURE_over_BASELINE` (paired difference, positive where the method is
        better) and the checks, with 95 % intervals by bootstrap over groups; NaN with its reason where there is nothing
        to measure on.
    """
    if not len(sample.groups):
        nothing = "the robustness split has no cracked image"
        return [
            _undefined(f"{method}.{name}", nothing) for method in METHODS for name in (*LOCALISATION, *FAITHFULNESS)
        ]
    maps = draw_maps(network, sample.images, len(sample.groups), config, seed)
    signed, margin = maps[SHAP], margin_of(network, config.precision)
    values = {name: _faithful(margin, sample, single, config) for name, single in maps.items()}
    rows = []
    if sample.masked.any():
        positive = maps | {SHAP: np.maximum(signed, 0)}  # what speaks against a crack is not expected on it
        tolerance = config.tolerance * network.input_size
        for name, single in positive.items():
            values[name] |= _localised(single[sample.masked], sample.masks[sample.masked], tolerance)
    else:
        why = "no crack of the sample has a mask"
        rows += [_undefined(f"{method}.{name}", why) for method in METHODS for name in LOCALISATION]
    rows += _compared(values, sample, config)
    rows += _sanity_checks(network, sample, maps, config, seed)
    return rows + _sensitivity(network, sample, signed, config, seed)


def _faithful(margin: Margin, sample: Sample, maps: np.ndarray, config: ExplainConfig) -> dict[str, np.ndarray]:
    def score(images: torch.Tensor) -> torch.Tensor:
        return margin(images).sigmoid()

    blur = config.blur * maps.shape[1]
    curves = perturbation_curves(score, sample.images, maps, config.curve_steps, blur, config.batch_size)
    removed = road(score, sample.images, maps, config.road, config.batch_size)
    return {"deletion_auc": curves.deletion_auc, "insertion_auc": curves.insertion_auc, "road": removed}


def _localised(maps: np.ndarray, masks: np.ndarray, tolerance: float) -> dict[str, np.ndarray]:
    return {
        "pointing_game": pointing_game(maps, masks, tolerance),
        "energy_inside": energy_inside(maps, masks),
        "energy_ratio": energy_ratio(maps, masks),
        "best_iou": best_iou(maps, masks),
    }


def _compared(values: dict[str, dict[str, np.ndarray]], sample: Sample, config: ExplainConfig) -> list[Measurement]:
    rows = []
    for measure_name in values[GRAD_CAM]:
        groups = sample.groups if measure_name in FAITHFULNESS else sample.groups[sample.masked]
        for map_name in values:
            rows.append(_row(f"{map_name}.{measure_name}", values[map_name][measure_name], groups, config))
        sign = -1 if measure_name in LOWER_IS_BETTER else 1
        for method, baseline in product(METHODS, BASELINES):
            gain = sign * (values[method][measure_name] - values[baseline][measure_name])
            name = f"{method}.{measure_name}_over_{baseline}"
            rows.append(_row(name, gain, groups, config, f"paired difference, positive where {method} is better"))
    return rows


def _sanity_checks(
    network: Network, sample: Sample, maps: dict[str, np.ndarray], config: ExplainConfig, seed: int
) -> list[Measurement]:
    """How much maps change where they should not (small noise) and where they must (random weights).

    Source: Adebayo et al. 2018, "Sanity checks for saliency maps"; all layers are randomised at once.
    """
    images, tried = sample.images, config.shap.sensitivity
    noise = config.noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    noisy = (images.cpu() + noise).round().clamp(0, 255).to(torch.uint8).to(images.device)
    random = random_network(network, seed + 1)
    checks = {
        "noise_stability": (draw_maps(network, noisy, tried, config, seed, draw=1), "the noisy image; 1 is stable"),
        "random_weights_similarity": (
            draw_maps(random, images, tried, config, seed, draw=1),
            "a network of random weights; near 1 the map shows the image, not what was learnt",
        ),
    }
    rows = [
        _row(f"{name}.{check}", rank_correlation(maps[name], other), sample.groups, config, f"{_CORRELATION} {note}")
        for check, (again, note) in checks.items()
        for name, other in again.items()
    ]
    empty = (maps[GRAD_CAM].max(axis=(1, 2)) == 0).astype(float)
    note = "share of cracks with no evidence for a crack"
    return [*rows, _row(f"{GRAD_CAM}.empty", empty, sample.groups, config, note)]


def _sensitivity(
    network: Network, sample: Sample, signed: np.ndarray, config: ExplainConfig, seed: int
) -> list[Measurement]:
    """How much KernelSHAP's map owes to its own settings: what a hidden region shows, and how many coalitions."""
    margin, images = margin_of(network, config.precision), sample.images[: config.shap.sensitivity]
    everything = blurred(sample.images, config.blur * network.input_size)
    p_crack = torch.cat([margin(batch).sigmoid() for batch in everything.split(config.batch_size)])
    note = "of the blurred image, in which all is hidden; where it is high, hiding parts of an image says little"
    rows = [_row(f"{SHAP}.hidden_p_crack", p_crack.double().cpu().numpy(), sample.groups, config, note)]
    hidden = everything[: len(images)]
    fewer = config.shap.model_copy(update={"coalitions": config.shap.coalitions // 2})
    half = config.model_copy(update={"shap": fewer})
    others = {
        "baseline_similarity": (
            explain_signed(network, images, mean_colour(images), config, seed),
            "hidden regions that show the mean colour, not a blur; 1: the baseline does not matter",
        ),
        "coalitions_similarity": (
            explain_signed(network, images, hidden, half, seed + 1),
            f"{fewer.coalitions} other coalitions in place of {config.shap.coalitions}; 1: enough were scored",
        ),
    }
    return rows + [
        _row(f"{SHAP}.{name}", rank_correlation(signed, other), sample.groups, config, f"{_CORRELATION} {note}")
        for name, (other, note) in others.items()
    ]


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman correlation of maps, pair by pair: float64 (n,) of the first n maps; 0 where a map is constant.

    Args:
        first: float (N, H, W).
        second: float (n, H, W), no more of them.
    """
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first[: len(second)], second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    scale = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    return np.divide((centred[0] * centred[1]).sum(axis=1), scale, out=np.zeros(len(second)), where=scale > 0)


def mean_interval(
    values: np.ndarray, groups: np.ndarray, resamples: int, scale: Scale
) -> tuple[float, float | None, float | None]:
    """Mean of values (n,) and its 95 % interval by bootstrap over groups; no interval for a single group."""
    codes, count = group_codes(groups)
    if count < 2:
        return float(values.mean()), None, None
    sums, sizes = np.bincount(codes, values, count), np.bincount(codes, minlength=count)
    draws, twice = (
        (times.astype(float) @ sums) / (times.astype(float) @ sizes)
        for times in (draw_groups(count, resamples, seed=0), one_twice(count))
    )
    return float(values.mean()), *interval(float(values.mean()), draws, twice, count, scale)


def _row(name: str, values: np.ndarray, groups: np.ndarray, config: ExplainConfig, note: str = "") -> Measurement:
    scale = SCALES.get(name.rpartition(".")[2], "difference")
    value, low, high = mean_interval(values, groups[: len(values)], config.resamples, scale)
    if scale == "difference" and low is not None and high is not None and "energy_ratio" not in name:
        low, high = max(low, -1.0), min(high, 1.0)  # of shares
    return Measurement(name, value, split="robustness", low=low, high=high, n=len(values), note=note)


def _undefined(name: str, why: str) -> Measurement:
    return Measurement(name, float("nan"), split="robustness", note=why)
