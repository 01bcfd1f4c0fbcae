"""Which production images are profiled."""

import re

from pydantic import Field, field_validator

from components.shared.config import PhotoPattern, Precision, StepConfig


class CollectConfig(StepConfig):
    """Sample, grouping and batch size of a collection."""

    group_pattern: PhotoPattern | None = Field(
        default=None,
        description="regular expression on the path; its first group names the photo that a tile was cut from. "
        "Without it, every image counts as a photo of its own",
    )
    slice_pattern: str = Field(
        default="^(?P<folder>[^/]+)/",
        description="regular expression on the path; each named group puts the image into a slice, and every slice is "
        "also checked by itself. A surface or source is compared with the training images of the same surface or "
        "source; any other slice, such as (?P<camera>cam[0-9]+), with all of them. The default is the first folder "
        "below `images`",
    )
    sample: int = Field(default=2000, ge=30, description="largest number of images; drawn at random from all")
    batch_size: int = Field(default=128, ge=1)
    precision: Precision = "auto"

    @field_validator("slice_pattern")
    @classmethod
    def _has_a_named_group(cls, pattern: str) -> str:
        try:
            named_groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        if not named_groups:
            raise ValueError(f"{pattern!r} has no named group: write the part that names a surface (?P<surface>…)")
        return pattern
