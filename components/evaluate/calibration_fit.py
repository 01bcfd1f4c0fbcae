"""Temperature and operating threshold, both fitted on the validation split."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from components.evaluate.config import ThresholdConfig
from components.shared.errors import InputError
from components.shared.results.calibration import Calibration

TEMPERATURES = (0.05, 20.0)


def calibrate(val: pd.DataFrame, config: ThresholdConfig) -> Calibration:
    """Fit temperature, then choose the threshold on the calibrated P(crack).

    Args:
        val: Clean "after" rows of the validation split, columns label, logit_0, logit_1.
        config: The rule.

    Raises:
        InputError: The validation split lacks a class.
    """
    labels = val["label"].to_numpy()
    if set(labels) != {0, 1}:
        raise InputError(
            f"the validation split has {int((labels == 0).sum())} images without and {int((labels == 1).sum())} with "
            "cracks, so no threshold can be chosen; add images or enlarge the validation share"
        )
    temperature = fit_temperature(labels, (val["logit_1"] - val["logit_0"]).to_numpy())
    p_crack = Calibration(temperature).p_crack(val["logit_0"].to_numpy(), val["logit_1"].to_numpy())
    threshold, rule = choose_threshold(labels, p_crack, config)
    return Calibration(temperature, threshold, rule)


def fit_temperature(labels: np.ndarray, margin: np.ndarray) -> float:
    """The temperature with the least negative log-likelihood, within TEMPERATURES.

    The targets are drawn in from 0 and 1 as Platt does; without that, a validation split without an error asks for
    infinite confidence.

    Args:
        labels: int (n,), both classes present.
        margin: float (n,), logit_1 - logit_0.

    Source: Guo et al. 2017, section 4.2 (temperature scaling); Platt 1999, section 2.2 (targets).
    """
    cracks = int(labels.sum())
    target = np.where(labels == 1, (cracks + 1) / (cracks + 2), 1 / (len(labels) - cracks + 2))

    def loss(log_temperature: float) -> float:
        scaled = margin / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def choose_threshold(labels: np.ndarray, p_crack: np.ndarray, config: ThresholdConfig) -> tuple[float, str]:
    """The threshold by the stated rule, halfway between two neighbouring P(crack), and the rule as a sentence.

    Args:
        labels: int (n,), with at least one crack.
        p_crack: float (n,), calibrated.
        config: The rule. Of equally good thresholds the highest is taken.
    """
    if config.rule == "fixed":
        return config.value, f"fixed at {config.value:g}"
    scores = np.unique(p_crack)
    order = np.argsort(p_crack)
    first = np.searchsorted(p_crack[order], scores)
    hits = labels.sum() - np.append(0, np.cumsum(labels[order]))[first]
    called = len(labels) - first
    recall, precision = hits / labels.sum(), hits / called
    if config.rule == "recall_floor":
        goodness = np.where(recall >= config.recall, precision, -1.0)
        rule = f"best precision among the thresholds with recall >= {config.recall:g} on validation"
    else:
        goodness = 2 * hits / (labels.sum() + called)
        rule = "highest F1 on validation"
    best = len(scores) - 1 - int(np.argmax(goodness[::-1]))
    below = scores[best - 1] if best else 0.0
    return float((below + scores[best]) / 2), rule
