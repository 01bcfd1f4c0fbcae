"""Fit temperature and operating threshold, both on the validation split."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from components.evaluate.config import ThresholdConfig
from components.shared.errors import InputError
from components.shared.results.calibration import Calibration

TEMPERATURE_RANGE = (0.05, 20.0)


def calibrate(val: pd.DataFrame, config: ThresholdConfig) -> Calibration:
    """Fit the temperature, then choose the threshold on the calibrated P(crack).

    Args:
        val: Clean "after" rows of the validation split, columns label, logit_0, logit_1.
        config: The threshold's rule.

    Raises:
        InputError: The validation split lacks a class.
    """
    labels = val["label"].to_numpy()
    if set(labels) != {0, 1}:
        raise InputError(
            f"the validation split has {int((labels == 0).sum())} tiles without and {int((labels == 1).sum())} with "
            "cracks, so no threshold can be chosen; add tiles of both classes or raise split.val"
        )

    logit_0 = val["logit_0"].to_numpy()
    logit_1 = val["logit_1"].to_numpy()
    temperature = fit_temperature(labels, logit_1 - logit_0)
    p_crack = Calibration(temperature).p_crack(logit_0, logit_1)
    threshold, rule = choose_threshold(labels, p_crack, config)
    return Calibration(temperature, threshold, rule)


def fit_temperature(labels: np.ndarray, margin: np.ndarray) -> float:
    """Return the temperature with the least negative log-likelihood, within TEMPERATURE_RANGE.

    The targets are not 0 and 1 but slightly inside, as Platt does. Otherwise a validation split without errors would
    ask for infinite confidence.

    Args:
        labels: int (n,), both classes present.
        margin: float (n,), logit_1 - logit_0.

    Source: Guo et al. 2017, section 4.2 (temperature scaling); Platt 1999, section 2.2 (targets).
    """
    cracks = int(labels.sum())
    others = len(labels) - cracks
    target = np.where(labels == 1, (cracks + 1) / (cracks + 2), 1 / (others + 2))

    def loss(log_temperature: float) -> float:
        scaled = margin / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURE_RANGE), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def choose_threshold(labels: np.ndarray, p_crack: np.ndarray, config: ThresholdConfig) -> tuple[float, str]:
    """Return the threshold by the configured rule, halfway between two neighbouring P(crack), and the rule in words.

    Args:
        labels: int (n,), with at least one crack.
        p_crack: float (n,), calibrated.
        config: The rule. Of equally good thresholds the highest is taken.
    """
    if config.rule == "fixed":
        return config.value, f"fixed at {config.value:g}"

    # Candidates are the distinct P(crack): at scores[i], everything from first[i] on, in rising order, is a crack.
    scores = np.unique(p_crack)
    order = np.argsort(p_crack)
    first = np.searchsorted(p_crack[order], scores)
    cracks = labels.sum()
    cracks_below = np.append(0, np.cumsum(labels[order]))[first]
    hits = cracks - cracks_below
    called = len(labels) - first

    if config.rule == "recall_floor":
        goodness = np.where(hits / cracks >= config.recall, hits / called, -1.0)
        rule = f"best precision among the thresholds with recall >= {config.recall:g} on validation"
    else:
        goodness = 2 * hits / (cracks + called)
        rule = "highest F1 on validation"

    best = int(np.flatnonzero(goodness == goodness.max())[-1])
    below = scores[best - 1] if best else 0.0
    return float((below + scores[best]) / 2), rule
