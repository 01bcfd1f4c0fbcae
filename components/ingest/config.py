"""Parameters of ingestion."""

from typing import Literal

from pydantic import Field

from components.shared.config import PhotoPattern, StepConfig


class IngestConfig(StepConfig):
    """The rules for accepting images, and the settings for reading the names of files and folders in a source."""

    layout: Literal["auto", "ccic", "sdnet2018", "folders", "roboflow", "photos"] = Field(
        default="auto", description="how the source's folders are named; auto: detect this"
    )
    group_pattern: PhotoPattern | None = Field(
        default=None,
        description="regular expression on the file name; its first capturing group matches the name of the photo that "
        "the tile was cut from",
    )
    group_by: Literal["names", "file order"] = Field(
        default="names",
        description="names: only names say which photo a tile is from; file order: neighbouring files that resemble "
        "each other share a group too, in folders whose file numbers run photo by photo; the run stops if no folder's "
        "numbers do",
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
        description="two tiles overlap if the correlation of their fine structure is at least this number in each "
        "quarter of the area that both show, and also in the concrete between strong structures; null: do not look for "
        "overlaps",
    )
    correction_keys: dict[str, str] = Field(
        default={},
        description="name of a person -> the person's Ed25519 public key (in its PEM file, the line between BEGIN and "
        "END); if keys are given, only corrections that these people signed are applied",
    )
