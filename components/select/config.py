"""Parameters of the select step."""

from typing import Literal

from pydantic import Field

from components.shared.config import StepConfig


class SelectConfig(StepConfig):
    """The rule that selects the winner among the candidates that passed the gate."""

    metric: str = Field(
        default="auroc", min_length=1, description="name of the measurement that is compared; the highest number wins"
    )
    split: Literal["val", "test", "robustness"] = "test"
    on: Literal["value", "low"] = Field(
        default="low", description="what is compared: the value, or the lower end of its 95 % interval"
    )
    tie: float = Field(
        default=0.0,
        ge=0,
        description="a candidate that is at most this much worse than the best candidate ties with it; in a tie, the "
        "cheaper network wins",
    )
