"""What is compared, and when a difference counts as drift."""

from pydantic import Field

from components.shared.config import StepConfig


class DriftConfig(StepConfig):
    """Samples, tests and limits of the drift check."""

    sample: int = Field(default=1000, ge=30, description="largest number of images on each side")
    permutations: int = Field(default=1999, ge=99, le=100_000, description="random reassignments of groups")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="chance of any false alarm, over all tests together")
    min_effect: float = Field(
        default=0.2, ge=0, description="smaller shifts, in standard deviations, do not count as drift"
    )
    retrain_share: float = Field(
        default=0.25, gt=0, le=1, description="share of drifted tests from which production needs retraining"
    )
    evidently: bool = Field(default=True, description="also draw Evidently's report")
