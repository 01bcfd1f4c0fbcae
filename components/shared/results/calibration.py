"""A model's calibration: the temperature that corrects its P(crack), the threshold, and the review band."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from components.shared.errors import InputError

# exp overflows in float64 at larger margins. P(crack) is already 0 or 1 at much smaller margins.
MAX_MARGIN = 700


@dataclass(frozen=True)
class ReviewBand:
    """The range of P(crack) in which a person must look at a tile. docs/statistics.md, "Triage", derives it.

    A tile with P(crack) below `low` gets the answer "no crack", and no person looks at it. A tile with P(crack) of at
    least `high` gets the answer "crack".

    The band makes a promise. With `missed` = 0.02, at most 2 % of all cracked tiles have a P(crack) below `low`. With
    `confidence` = 0.95, this promise has a confidence of 95 %: if we repeated the calibration many times with other
    validation photos, at least 95 % of the bands would keep the promise.

    Attributes:
        low: Lower end of the band, calibrated P(crack), 0 to 1. It is 0 if there were too few validation photos with
            cracks. Then every tile below `high` needs review.
        high: Upper end of the band, calibrated P(crack), at least `low`. It is the operating threshold.
        missed: The promised limit for the share of missed cracks, above 0 and below 1.
        confidence: The confidence of the promise, above 0 and below 1.
        photos: Number of validation photos with cracks.
        photos_needed: Smallest number of validation photos with cracks that can give a `low` above 0. The number is
            computed for a model that misses no crack in these photos.
        counted: The limit for the weight of one photo, in cracked tiles. For example, if the limit is 50, a photo with
            200 cracked tiles counts like a photo with 50.
    """

    low: float
    high: float
    missed: float
    confidence: float
    photos: int
    photos_needed: int
    counted: int

    @property
    def is_certified(self) -> bool:
        """Return whether some tiles may get the answer "no crack" without review by a person."""
        return self.low > 0

    def contains(self, p_crack: np.ndarray) -> np.ndarray:
        """Return which tiles need review, bool (n,). `p_crack` is calibrated, float (n,)."""
        return (p_crack >= self.low) & (p_crack < self.high)


@dataclass(frozen=True)
class Calibration:
    """The temperature and the threshold that turn logits into a calibrated P(crack) and a decision.

    Attributes:
        temperature: The logits are divided by this number. A value above 1 moves P(crack) towards 0.5.
        threshold: A tile is called a crack if its calibrated P(crack) >= threshold.
        rule: How the threshold was chosen, in words.
        band: The review band. None if the model was calibrated before there were review bands.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    rule: str = "P(crack) >= 0.5, as trained"
    band: ReviewBand | None = None

    def p_crack(self, logit_0: np.ndarray, logit_1: np.ndarray) -> np.ndarray:
        """Return the calibrated P(crack), float64 (n,) in [0, 1].

        Args:
            logit_0: float (n,), the logit of no_crack.
            logit_1: float (n,), the logit of crack.
        """
        margin = (np.asarray(logit_1, np.float64) - np.asarray(logit_0, np.float64)) / self.temperature
        return 1 / (1 + np.exp(-np.clip(margin, -MAX_MARGIN, MAX_MARGIN)))

    def needs_review(self, p_crack: np.ndarray) -> np.ndarray:
        """Return which tiles a person must look at. `p_crack` is calibrated, float (n,).

        Returns:
            bool (n,). If the model has no review band, the result is object (n,), and all its values are None.
        """
        if self.band is None:
            return np.full(len(p_crack), None)
        return self.band.contains(p_crack)


def write_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write calibration.json."""
    Path(path).write_text(json.dumps(asdict(calibration), indent=2) + "\n", encoding="utf-8")


def read_calibration(path: str | Path) -> Calibration:
    """Read calibration.json.

    Raises:
        InputError: The file is missing, or it does not contain a calibration.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        band = stored.pop("band", None)
        return Calibration(**stored, band=ReviewBand(**band) if band else None)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a calibration.json ({error}); run the step evaluate again") from error
