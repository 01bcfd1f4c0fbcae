"""Settings of the register step."""

from pydantic import Field

from components.shared.config import StepConfig


class RegisterConfig(StepConfig):
    """Settings of the infra check and of the input example of a registered model version."""

    examples: int = Field(default=2, ge=2, le=16, description="test tiles in the input example")
    checked: int = Field(default=16, ge=2, description="test tiles whose answers are compared with the measured ones")
    tolerance: float = Field(
        default=1e-4,
        gt=0,
        description="largest allowed difference in P(crack) between the registered model version and the measurement",
    )
