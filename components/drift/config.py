"""Parameters of the drift steps."""

from pydantic import Field

from components.shared.config import StepConfig


class DriftConfig(StepConfig):
    """The samples, tests and limits of a drift comparison."""

    sample: int = Field(
        default=1000, ge=30, description="largest number of images from each of the two sides that are compared"
    )
    permutations: int = Field(
        default=1999,
        ge=99,
        le=100_000,
        description="how many times the groups (photos) are shuffled at random between the two sides that are compared",
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="probability that any of the tests gives a false alarm"
    )
    min_effect: float = Field(
        default=0.2, ge=0, description="smallest difference, in standard deviations, that counts as drift"
    )
    retrain_share: float = Field(
        default=0.25, gt=0, le=1, description="a retraining is needed if at least this share of the tests found drift"
    )
    evidently: bool = Field(default=True, description="also write the report of the library Evidently")
