"""Parameters of ingestion."""

from typing import Literal

from pydantic import Field

from components.shared.config import PhotoPattern, StepConfig


class IngestConfig(StepConfig):
    """The rules for accepting images, and the settings for reading the names of files and folders in a source."""

    layout: Literal["auto", "ccic", "sdnet2018", "folders", "roboflow", "photos"] = Field(
        default="auto", description="how the source's folders are named; auto detects it"
    )
    group_pattern: PhotoPattern | None = Field(
        default=None,
        description="regular expression on the file name; its first capturing group matches the name of the photo that "
        "the tile was cut from",
    )
    min_size: int = Field(default=32, ge=8, description="smallest width and height, pixels")
    max_pixels: int = Field(default=50_000_000, ge=1, description="largest width times height, pixels")
    max_unpacked: int = Field(default=100_000_000_000, ge=1, description="largest size of an unpacked archive, bytes")
    max_refused: float = Field(default=0.05, ge=0, lt=1, description="largest share of refused files in each source")
    min_images: int = Field(default=20, ge=1, description="fewest accepted images in each class")
    near_duplicate: float = Field(
        default=0.97,
        gt=0,
        le=1,
        description="two tiles are near duplicates if their grey thumbnails correlate at least this much; mirrored and "
        "rotated tiles count too",
    )
    overlap: float | None = Field(
        default=0.7,
        gt=0,
        le=1,
        description="two tiles overlap if the fine structure correlates at least this much in each quarter of the area "
        "that both show, and between its strong structures; null does not look for overlaps",
    )
    correction_keys: dict[str, str] = Field(
        default={},
        description="name of a person -> Ed25519 public key, the line between BEGIN and END of its PEM file; if a key "
        "is given, only corrections that these people signed are applied",
    )
