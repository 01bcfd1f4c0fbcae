"""Parameters of the predict step and the champion step."""

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
    """The robustness suite: which corruptions the robustness tiles get."""

    families: tuple[Family, ...] = Field(default=get_args(Family), description="kinds of corruption")
    severities: tuple[Literal[1, 2, 3, 4, 5], ...] = Field(
        default=(1, 2, 3, 4, 5), description="from 1 (weak) to 5 (strong)"
    )
    max_images: int = Field(
        default=500, ge=0, description="largest number of robustness tiles that get all corruptions; 0: no corruptions"
    )


class PredictConfig(StepConfig):
    """The parameters of the predict step and of the champion step."""

    WITHOUT_EFFECT = StepConfig.WITHOUT_EFFECT | {"workers"}

    batch_size: int = Field(default=128, ge=1)
    train_sample: int = Field(
        default=500, ge=30, description="number of training tiles with which drift checks compare other images"
    )
    corruptions: CorruptionConfig = CorruptionConfig()
    precision: Precision = Field(
        default="auto",
        description="precision before fine-tuning and for corrupted tiles; all other answers are computed in fp32",
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        description="number of processes that decode tiles; None: number of processors minus 1, at most 16",
    )
