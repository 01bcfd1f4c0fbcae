"""A model's calibration: the temperature that corrects its P(crack), and the threshold for its decisions."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from components.shared.errors import InputError

# exp overflows in float64 at larger margins. P(crack) is already 0 or 1 at much smaller margins.
MAX_MARGIN = 700


@dataclass(frozen=True)
class Calibration:
    """The temperature and the threshold that turn logits into a calibrated P(crack) and a decision.

    Attributes:
        temperature: The logits are divided by this number. A value above 1 moves P(crack) towards 0.5.
        threshold: A tile is called a crack if its calibrated P(crack) >= threshold.
        rule: How the threshold was chosen, in words.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    rule: str = "P(crack) >= 0.5, as trained"

    def p_crack(self, logit_0: np.ndarray, logit_1: np.ndarray) -> np.ndarray:
        """Return the calibrated P(crack), float64 (n,) in [0, 1].

        Args:
            logit_0: float (n,), the logit of no_crack.
            logit_1: float (n,), the logit of crack.
        """
        margin = (np.asarray(logit_1, np.float64) - np.asarray(logit_0, np.float64)) / self.temperature
        return 1 / (1 + np.exp(-np.clip(margin, -MAX_MARGIN, MAX_MARGIN)))


def write_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write calibration.json."""
    Path(path).write_text(json.dumps(asdict(calibration), indent=2) + "\n", encoding="utf-8")


def read_calibration(path: str | Path) -> Calibration:
    """Read calibration.json.

    Raises:
        InputError: The file is missing, or it does not contain a calibration.
    """
    try:
        return Calibration(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a calibration.json ({error}); run evaluate again") from error
