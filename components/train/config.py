"""How one candidate is trained."""

from typing import Literal

from pydantic import Field, model_validator

from components.shared.config import AugmentConfig, StepConfig


class TrainConfig(StepConfig):
    """Network, optimiser, length and augmentation of one candidate's training."""

    architecture: str = Field(description="any timm classifier, such as resnet50")
    weights: str = Field(
        default="hub", description='"hub", the path of a weights file, or "none" for training from scratch'
    )
    input_size: int = Field(default=224, ge=32, le=1024, description="height and width in pixels")
    freeze: Literal["none", "backbone"] = Field(default="none", description='"backbone" trains the head only')
    dropout: float = Field(default=0.0, ge=0, lt=1)
    stochastic_depth: float = Field(default=0.0, ge=0, lt=1)

    epochs: float | None = Field(default=None, gt=0, description="length in passes over the training split")
    steps: int | None = Field(default=None, gt=0, description="length in optimiser steps, whatever the data's size")
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps in which the rate rises from 0")
    schedule: Literal["cosine", "constant"] = "cosine"
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    val_check_interval: float = Field(default=0.25, gt=0, le=1, description="share of the training between validations")
    precision: Literal["auto", "bf16", "fp32"] = Field(default="auto", description="auto: bf16 where the device has it")
    augment: AugmentConfig = AugmentConfig()
    workers: int | None = Field(
        default=None, ge=0, description="decoding processes; None: the processors less one, at most 8"
    )
    require_gpu: bool = Field(default=False, description="stop at once where there is no GPU")

    @model_validator(mode="after")
    def _one_length(self) -> "TrainConfig":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self
