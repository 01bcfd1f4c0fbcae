"""What is predicted, and by which network."""

from pydantic import Field

from components.shared.config import StepConfig


class PredictConfig(StepConfig):
    """Splits, sample and batch of a prediction."""

    batch_size: int = Field(default=128, ge=1)
    train_sample: int = Field(default=500, ge=30, description="images of the training split, the reference for drift")
    precision: str = Field(default="auto", pattern="^(auto|bf16|fp32)$")
    workers: int | None = Field(
        default=None, ge=0, description="decoding processes; None: the processors less one, at most 8"
    )
