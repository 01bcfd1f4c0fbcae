"""Parameters of an inspection."""

from typing import ClassVar

from pydantic import Field

from components.shared.config import StepConfig

# Increase this number when the content of a photo's record, or its computation, changes. Older records are not used.
FORMAT = 3


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
        description="metres between camera and concrete; the scale of a photo also needs the focal length in EXIF",
    )
    overlap: float = Field(
        default=0.5, ge=0, le=0.9, description="smallest overlap of neighbouring tiles, as a share of a tile's side"
    )
    close_ups: int = Field(
        default=20, ge=0, description="largest number of close-ups of a photo; they show its most certain findings"
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="tiles in a forward pass; None: 16 on a CPU, 256 on a GPU"
    )
    shares: int = Field(
        default=4, ge=1, le=20, description="on a cluster: number of pods that inspect photos at the same time"
    )
