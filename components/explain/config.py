"""Parameters of the explain step."""

from pydantic import Field, model_validator

from components.shared.config import Config, Precision, StepConfig


class ShapConfig(Config):
    """The parameters of KernelSHAP."""

    regions: int = Field(
        default=49,
        ge=4,
        le=1000,
        description="approximate number of regions (superpixels or blocks of patches) in an image",
    )
    coalitions: int = Field(
        default=500, ge=8, le=100_000, description="number of sets of regions that the network scores for each image"
    )
    sensitivity: int = Field(
        default=8, ge=1, description="number of images on which other settings of KernelSHAP are tried"
    )

    @model_validator(mode="after")
    def _enough_coalitions(self) -> "ShapConfig":
        if self.coalitions < 2 * self.regions:
            raise ValueError(
                f"coalitions is {self.coalitions}, but it must be at least {2 * self.regions}, twice the value of "
                f"regions ({self.regions}); raise coalitions, or lower regions"
            )
        return self


class ExplainConfig(StepConfig):
    """The parameters for the explanations of one candidate."""

    shown: int = Field(default=24, ge=1, le=500, description="number of images in the gallery")
    measured: int = Field(
        default=24, ge=1, le=5000, description="number of cracked images for the measures, chosen at random"
    )
    chosen_on: int = Field(
        default=12, ge=1, description="number of cracked validation images that are used to choose Grad-CAM's layer"
    )
    exchanged: int = Field(
        default=64,
        ge=0,
        le=5000,
        description="number of tiles that get the border, colour cast, sharpness or JPEG quality of a tile with the "
        "other label; 0: do not test for shortcuts",
    )
    curve_steps: int = Field(default=8, ge=2, le=200, description="steps of the deletion and insertion curves")
    blur: float = Field(
        default=1 / 16,
        gt=0,
        le=1,
        description="standard deviation of the blur that hides pixels, as a share of the image's height",
    )
    road: tuple[float, ...] = Field(
        default=(70.0, 90.0),
        min_length=1,
        description="percentiles of the map; for each one, ROAD removes the pixels above it",
    )
    shap: ShapConfig = ShapConfig()
    tolerance: float = Field(
        default=0.05,
        ge=0,
        le=0.5,
        description="pointing game: largest distance of a hit from the crack, as a share of the image's height",
    )
    noise: float = Field(
        default=4.0,
        gt=0,
        le=64,
        description="standard deviation of the noise in the stability test, in grey levels (0 to 255)",
    )
    resamples: int = Field(
        default=2000, ge=100, le=100_000, description="how often the groups (photos) are resampled for the intervals"
    )
    batch_size: int = Field(default=64, ge=1)
    precision: Precision = Field(
        default="auto", description="precision in which the network computes its answers for images with hidden parts"
    )
