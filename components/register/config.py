"""Settings of the register step."""

from pydantic import Field

from components.shared.config import StepConfig


class RegisterConfig(StepConfig):
    """Settings of the input example and of the infra check.

    The input example is a few test tiles. MLflow stores them with the model version. The infra check compares the
    answers of the registered model version with the answers that the run measured before the registration.
    """

    examples: int = Field(default=2, ge=2, le=16, description="number of test tiles in the input example")
    checked: int = Field(
        default=16, ge=2, description="number of test tiles on which the answers are compared with the measured answers"
    )
    tolerance: float = Field(
        default=1e-4,
        gt=0,
        description="largest allowed difference in P(crack) between the registered model version and the measurement",
    )
