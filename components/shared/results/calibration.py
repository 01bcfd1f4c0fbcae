"""A model's calibration: the temperature that makes its P(crack) honest, and the threshold at which it says crack."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from components.shared.errors import InputError


@dataclass(frozen=True)
class Calibration:
    """How logits become a calibrated P(crack) and a decision, wherever the model is used.

    Attributes:
        temperature: The logits are divided by it; above 1 makes the model less sure.
        threshold: The image is a crack where the calibrated P(crack) >= threshold.
        rule: One sentence on how the threshold was chosen.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    rule: str = "P(crack) >= 0.5, as trained"

    def p_crack(self, logit_0: np.ndarray, logit_1: np.ndarray) -> np.ndarray:
        """float64 (n,): calibrated P(crack) from the logits of no_crack and crack, each float (n,)."""
        margin = (np.asarray(logit_1, np.float64) - np.asarray(logit_0, np.float64)) / self.temperature
        return 1 / (1 + np.exp(-np.clip(margin, -700, 700)))


def write_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write calibration.json."""
    Path(path).write_text(json.dumps(asdict(calibration), indent=2) + "\n", encoding="utf-8")


def read_calibration(path: str | Path) -> Calibration:
    """Read calibration.json.

    Raises:
        InputError: It is no calibration.
    """
    try:
        return Calibration(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a calibration.json ({error}); run evaluate again") from error
