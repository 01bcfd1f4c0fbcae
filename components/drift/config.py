"""Parameters of the drift steps."""

from pydantic import Field

from components.shared.config import StepConfig


class DriftConfig(StepConfig):
    """The samples, tests and limits of a drift check."""

    sample: int = Field(default=1000, ge=30, description="largest number of images on each side")
    permutations: int = Field(default=1999, ge=99, le=100_000, description="number of random deals of the groups")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="chance of any false alarm in all tests together")
    min_effect: float = Field(
        default=0.2, ge=0, description="smallest effect, in standard deviations, that counts as drift"
    )
    retrain_share: float = Field(
        default=0.25, gt=0, le=1, description="a retraining is needed if at least this share of the tests drifted"
    )
    evidently: bool = Field(default=True, description="also write Evidently's report")
