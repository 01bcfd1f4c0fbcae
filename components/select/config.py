"""Parameters of the select step."""

from typing import Literal

from pydantic import Field

from components.shared.config import StepConfig


class SelectConfig(StepConfig):
    """The rule that selects the winner among the candidates that passed the gate."""

    metric: str = Field(default="auroc", min_length=1, description="measurement to compare; the highest wins")
    split: Literal["val", "test", "robustness"] = "test"
    on: Literal["value", "low"] = Field(default="low", description="the value, or the lower end of its 95 % interval")
    tie: float = Field(default=0.0, ge=0, description="differences up to this are a tie; the cheaper network wins")
