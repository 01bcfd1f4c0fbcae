"""Parameters of the collect step."""

import re

from pydantic import Field, field_validator

from components.shared.config import PhotoPattern, Precision, StepConfig


class CollectConfig(StepConfig):
    """The parameters that say how to choose, group and classify the production images."""

    group_pattern: PhotoPattern | None = Field(
        default=None,
        description="regular expression for the path. Its first capturing group matches the name of the photo that a "
        "tile was cut from. Without an expression, every image counts as a separate photo",
    )
    slice_pattern: str = Field(
        default="^(?P<folder>[^/]+)/",
        description="regular expression for the path. Each named capturing group puts the image into a slice. Each "
        "slice is also checked separately. A slice from (?P<surface>…) or (?P<source>…) is compared with the "
        "training images of the same surface or source. A slice from any other group, such as "
        "(?P<camera>cam[0-9]+), is compared with all training images. By default, the slice is the first folder below "
        "`images`",
    )
    sample: int = Field(
        default=2000, ge=30, description="largest number of images; if there are more, a random sample is used"
    )
    batch_size: int = Field(default=128, ge=1)
    precision: Precision = "auto"

    @field_validator("slice_pattern")
    @classmethod
    def _has_a_named_group(cls, pattern: str) -> str:
        try:
            named_groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}; correct the pattern") from error
        if not named_groups:
            raise ValueError(
                f"{pattern!r} has no named capturing group; write (?P<surface>…) around the part that names a surface"
            )
        return pattern
