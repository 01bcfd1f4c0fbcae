"""Where the winner is registered."""

from pydantic import Field

from components.shared.config import StepConfig


class RegisterConfig(StepConfig):
    """How much of the data goes with the registered model as an example."""

    examples: int = Field(default=2, ge=2, le=16, description="test tiles in the input example")
