"""Define the base classes of all configurations."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Config(BaseModel):
    """A set of parameters that cannot be changed. An unknown key or a value of the wrong type is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def check_photo_pattern(pattern: str) -> str:
    """Return the pattern unchanged if it is a regular expression with a capturing group.

    Raises:
        ValueError: The pattern is not a regular expression, or it has no capturing group.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}; correct the pattern") from error

    if groups == 0:
        raise ValueError(
            f"{pattern!r} has no capturing group; write parentheses around the part that matches the name of the photo"
        )
    return pattern


# A regular expression. Its first capturing group matches the name of the photo that a tile was cut from.
PhotoPattern = Annotated[str, AfterValidator(check_photo_pattern)]
# How an image is scaled to a network's input size, unless it shrinks strongly.
Interpolation = Literal["bilinear", "bicubic"]
_Mean = Annotated[float, Field(ge=0, le=1)]
_Deviation = Annotated[float, Field(gt=0, le=1)]
# Mean and standard deviation of the RGB channels, on the scale 0 to 1.
ChannelMeans = tuple[_Mean, _Mean, _Mean]
ChannelDeviations = tuple[_Deviation, _Deviation, _Deviation]
# Precision of a network's forward pass; "auto" uses bf16 if the device supports it.
Precision = Literal["auto", "bf16", "fp32"]


class StepConfig(Config):
    """The parameters that every step receives.

    Attributes:
        GIVEN_BY_RUN: Fields that the run fills in (`RunConfig.step_json`). A section of a parameter file must not
            contain them.
        WITHOUT_EFFECT: Fields that do not change the step's result, such as the names of folders and experiments.
    """

    GIVEN_BY_RUN: ClassVar[frozenset[str]] = frozenset(
        {"store", "cache", "cache_size", "experiment", "model_name", "candidate"}
    )
    WITHOUT_EFFECT: ClassVar[frozenset[str]] = GIVEN_BY_RUN

    store: str = Field(default="s3://crack/store", pattern=r"^s3://[^/]+(/.+)?$", description="root of all storage")
    cache: str = Field(default="/tmp/crack-cache", description="folder for fetched data set versions")
    cache_size: int = Field(default=200_000_000_000, ge=1, description="largest size of the cache, bytes")
    experiment: str = Field(default="crack-training", min_length=1, description="experiment in MLflow")
    model_name: str = Field(default="crack-classifier", min_length=1, description="registered model in MLflow")
    candidate: str = Field(
        default="", description="name of the candidate in a branch of the pipeline; empty outside the branches"
    )

    def identity(self) -> dict:
        """Return the fields that decide the step's result, as JSON values."""
        return self.model_dump(mode="json", exclude=set(self.WITHOUT_EFFECT))
