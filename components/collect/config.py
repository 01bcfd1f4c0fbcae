"""Which production images are looked at."""

import re

from pydantic import Field, field_validator

from components.shared.config import StepConfig


class CollectConfig(StepConfig):
    """Sample, grouping and batch of a collection."""

    group_pattern: str | None = Field(
        default=None,
        description="regular expression on the path; its first group names the photo that a tile was cut from. "
        "Without one, every image counts as a photo of its own",
    )
    sample: int = Field(default=2000, ge=30, description="largest number of images, drawn at random from all")
    batch_size: int = Field(default=128, ge=1)
    precision: str = Field(default="auto", pattern="^(auto|bf16|fp32)$")

    @field_validator("group_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
            if groups == 0:
                raise ValueError(f"{pattern!r} has no group: put the part that names the photo into parentheses")
        return pattern
