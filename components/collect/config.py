"""Which production images are looked at."""

import re

from pydantic import Field, field_validator

from components.shared.config import PhotoPattern, Precision, StepConfig


class CollectConfig(StepConfig):
    """Sample, grouping and batch of a collection."""

    group_pattern: PhotoPattern | None = Field(
        default=None,
        description="regular expression on the path; its first group names the photo that a tile was cut from. "
        "Without one, every image counts as a photo of its own",
    )
    slice_pattern: str = Field(
        default="^(?P<folder>[^/]+)/",
        description="regular expression on the path; its named groups say what an image belongs to, to be looked at by "
        "itself: a surface or source is held against the training images of the same, anything else, such as "
        "(?P<camera>cam[0-9]+), against all of them. As it stands: the first folder below `images`",
    )
    sample: int = Field(default=2000, ge=30, description="largest number of images, drawn at random from all")
    batch_size: int = Field(default=128, ge=1)
    precision: Precision = "auto"

    @field_validator("slice_pattern")
    @classmethod
    def _has_a_named_group(cls, pattern: str) -> str:
        try:
            names = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        if not names:
            raise ValueError(f"{pattern!r} has no named group: write the part that names a surface (?P<surface>…)")
        return pattern
