"""Which production images are looked at."""

from pydantic import Field

from components.shared.config import PhotoPattern, Precision, StepConfig


class CollectConfig(StepConfig):
    """Sample, grouping and batch of a collection."""

    group_pattern: PhotoPattern | None = Field(
        default=None,
        description="regular expression on the path; its first group names the photo that a tile was cut from. "
        "Without one, every image counts as a photo of its own",
    )
    sample: int = Field(default=2000, ge=30, description="largest number of images, drawn at random from all")
    batch_size: int = Field(default=128, ge=1)
    precision: Precision = "auto"
