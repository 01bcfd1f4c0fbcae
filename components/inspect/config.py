"""Parameters of an inspection."""

from typing import ClassVar

from pydantic import Field

from components.shared.config import StepConfig

FORMAT = 1  # of what the record of a photo contains and of how it is computed; older records are not used


class InspectConfig(StepConfig):
    """The parameters of the inspection of whole photos."""

    WITHOUT_EFFECT: ClassVar[frozenset[str]] = StepConfig.WITHOUT_EFFECT | {"batch_size", "shares"}

    scale: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="millimetres of concrete per pixel; None: use distance"
    )
    distance: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="metres between camera and concrete; with the focal length in EXIF it gives the scale of a photo",
    )
    overlap: float = Field(
        default=0.5, ge=0, le=0.9, description="smallest overlap of neighbouring tiles, as a share of a tile's side"
    )
    close_ups: int = Field(
        default=20, ge=0, description="number of findings of a photo that get a close-up, the most certain first"
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="tiles in a forward pass; None: 16 on a CPU, 256 on a GPU"
    )
    shares: int = Field(
        default=4, ge=1, le=20, description="on a cluster: number of pods that inspect photos at the same time"
    )
