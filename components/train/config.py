"""Settings of the train step: how one candidate is trained."""

from typing import Literal

from pydantic import Field, model_validator

from components.shared.config import Config, Precision, StepConfig


class AugmentConfig(Config):
    """The strengths of the training augmentation. A strength of 0 switches its part off."""

    rotation: float = Field(default=30.0, ge=0, le=180, description="degrees, either way")
    brightness: float = Field(default=0.2, ge=0, le=1, description="fraction, either way")
    contrast: float = Field(default=0.2, ge=0, le=1, description="fraction, either way")
    saturation: float = Field(default=0.2, ge=0, le=1, description="fraction, either way")
    hue: float = Field(default=0.02, ge=0, le=0.5, description="fraction of the colour circle, either way")
    noise: float = Field(default=0.03, ge=0, le=1, description="largest standard deviation of Gaussian noise, fraction")
    flip: bool = Field(default=False, description="mirror at random; a crack has neither an upper nor a left side")

    def corruptions(self) -> tuple[str, ...]:
        """Return the corruption families of the robustness suite that this augmentation applies in a weaker form."""
        families: tuple[str, ...] = ()
        if self.noise:
            families += ("gaussian_noise",)
        if self.brightness:
            families += ("low_light", "over_exposure")
        return families


class TrainConfig(StepConfig):
    """The settings of one candidate's training: network, optimiser, length and augmentation."""

    GIVEN_BY_RUN = StepConfig.GIVEN_BY_RUN | {"container_image"}
    WITHOUT_EFFECT = GIVEN_BY_RUN | {"workers", "require_gpu", "checkpoint_minutes"}

    architecture: str = Field(description="any timm classifier, such as resnet50")
    weights: str = Field(
        default="hub",
        description='"hub", the path of a weights file, s3://BUCKET/KEY, or "none" for training from scratch',
    )
    input_size: int = Field(default=224, ge=32, le=1024, description="height and width in pixels")
    tuning: str = Field(
        default="full",
        pattern=r"^(full|head_only|last_[1-9][0-9]*)$",
        description='what is trained: "full", "head_only", or "last_3" for the last three blocks and the head',
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="probability of dropout before the head")
    stochastic_depth: float = Field(
        default=0.0, ge=0, lt=1, description="share of the blocks that are skipped, at the deepest block"
    )

    epochs: float | None = Field(default=None, gt=0, description="length in passes over the training split")
    steps: int | None = Field(default=None, gt=0, description="length in optimiser steps, for any number of tiles")
    batch_size: int = Field(default=32, ge=1, description="tiles in an optimiser step, over all devices")
    learning_rate: float = Field(default=3e-4, gt=0, description="highest rate, reached after the warm-up")
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="factor of the learning rate from each block to the block before it"
    )
    weight_decay: float = Field(default=0.05, ge=0)
    clip_norm: float = Field(
        default=1.0,
        ge=0,
        description="largest Euclidean norm of the gradient; a longer gradient is scaled down; 0: never",
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps in which the rate rises from 0")
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="learning rate after the warm-up")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    class_balance: Literal["none", "weights", "sampling"] = Field(
        default="none",
        description="weights: the rare class counts more in the loss; sampling: it is drawn as often as the other",
    )
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the averaged weights, such as 0.9998; 0: none")
    val_check_interval: float = Field(
        default=0.25, gt=0, le=1, description="share of the training between two validations"
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="stop after this many validations that are not better than the best; None: never",
    )
    augment: AugmentConfig = AugmentConfig()

    precision: Precision = Field(default="auto", description="auto: bf16 if the device has it in hardware")
    devices: int | Literal["auto"] = Field(
        default="auto", description="GPUs to train on, or processes on a CPU; auto: every GPU, or one process"
    )
    deterministic: bool = Field(
        default=False, description="use only algorithms that give the same bits again, on a GPU too"
    )
    compile: bool = Field(
        default=False,
        description="use torch.compile: it takes minutes at the start, then steps are faster; it needs gcc"
        " (images/Dockerfile)",
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        description="decoding processes per device; None: one less than the device's processors, at most 16",
    )
    require_gpu: bool = Field(default=False, description="stop at once if there is no GPU")
    checkpoint_minutes: float = Field(
        default=5.0, gt=0, description="minutes between checkpoints; a killed training loses about this time"
    )

    container_image: str = Field(
        default="", description="container image that the step runs in; it is recorded in MLflow"
    )

    @model_validator(mode="after")
    def _one_length(self) -> "TrainConfig":
        if self.epochs is None and self.steps is None:
            raise ValueError("the training has no length: give either epochs or steps")
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs is {self.epochs} and steps is {self.steps}: give either epochs or steps")
        return self

    @model_validator(mode="after")
    def _devices_fit_the_batch(self) -> "TrainConfig":
        if self.devices != "auto" and not 1 <= self.devices <= self.batch_size:
            raise ValueError(f"devices is {self.devices}; it must be 1 to batch_size ({self.batch_size}), or auto")
        return self
