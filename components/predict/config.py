"""What is predicted, and by which network."""

from typing import Literal, get_args

from pydantic import Field

from components.shared.config import Config, Precision, StepConfig

Family = Literal[
    "motion_blur",
    "defocus",
    "gaussian_noise",
    "low_light",
    "over_exposure",
    "jpeg",
    "oblique_view",
    "shadow",
    "stain",
    "down_sampling",
]


class CorruptionConfig(Config):
    """The robustness suite: views of robustness images, made worse on purpose."""

    families: tuple[Family, ...] = Field(default=get_args(Family), description="kinds of corruption")
    severities: tuple[Literal[1, 2, 3, 4, 5], ...] = Field(default=(1, 2, 3, 4, 5), description="1 weak to 5 strong")
    max_images: int = Field(default=500, ge=0, description="robustness images, each in every view; 0: none")


class PredictConfig(StepConfig):
    """Splits, sample, views and batch of a prediction."""

    WITHOUT_EFFECT = StepConfig.WITHOUT_EFFECT | {"workers"}

    batch_size: int = Field(default=128, ge=1)
    train_sample: int = Field(default=500, ge=30, description="images of the training split, the reference for drift")
    corruptions: CorruptionConfig = CorruptionConfig()
    precision: Precision = Field(
        default="auto",
        description="of the answers before fine-tuning and on worse views; what will be served is measured in fp32",
    )
    workers: int | None = Field(
        default=None, ge=0, description="decoding processes; None: the processors less one, at most 16"
    )
