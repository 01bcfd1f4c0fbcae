"""What a registered version is checked against, and the example that goes with it."""

from pydantic import Field

from components.shared.config import StepConfig


class RegisterConfig(StepConfig):
    """The infra check and the input example."""

    examples: int = Field(default=2, ge=2, le=16, description="test tiles in the input example")
    checked: int = Field(default=16, ge=2, description="test tiles that the version must answer as measured")
    tolerance: float = Field(
        default=1e-4, gt=0, description="P(crack): how far the registered version may be from the measured predictions"
    )
