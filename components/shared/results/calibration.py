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
    least `high` gets the answer "crack". Of all cracks, at most the share `missed` gets the answer "no crack" although
    no person looked. If the calibration were repeated many times with other validation photos, this promise would hold
    in at least the share `confidence` of the repetitions.

    Attributes:
        low: Calibrated P(crack), 0 to 1. 0 means that the photos were too few: every tile below `high` needs review.
        high: Calibrated P(crack), at least `low`: the operating threshold.
        missed: Largest share of the cracks that may be missed, above 0 and below 1.
        confidence: Above 0 and below 1.
        photos: Number of validation photos with cracks.
        photos_needed: Number of photos with cracks that are needed for a band, if none of their cracks is missed.
        counted: The largest number of cracked tiles with which a photo counts.
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
        """Return whether some tiles may be answered "no crack" without a look."""
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
        """Return which tiles a person must look at, by their calibrated P(crack), float (n,).

        Returns:
            bool (n,). Without a review band: object (n,), every element None, because the model does not know.
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
