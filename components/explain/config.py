"""What is explained, and how closely it is measured."""

from pydantic import Field

from components.shared.config import StepConfig


class ExplainConfig(StepConfig):
    """Samples and measures of one candidate's explanations."""

    shown: int = Field(default=24, ge=1, le=500, description="images in the gallery, chosen by rule")
    measured: int = Field(default=24, ge=1, le=5000, description="cracked images drawn at random for the measures")
    curve_steps: int = Field(default=8, ge=2, le=200, description="steps of the deletion and insertion curves")
    blur: float = Field(
        default=1 / 16, gt=0, le=1, description="standard deviation of the blur that hides pixels, of the edge"
    )
    tolerance: float = Field(
        default=0.05, ge=0, le=0.5, description="how far from the crack a hit may lie, of the edge"
    )
    noise: float = Field(
        default=4.0, gt=0, le=64, description="standard deviation of the stability test's noise, of 255"
    )
    resamples: int = Field(default=2000, ge=100, le=100_000, description="bootstrap resamples of groups")
    batch_size: int = Field(default=64, ge=1)
    precision: str = Field(
        default="auto", pattern="^(auto|bf16|fp32)$", description="of the masked images' forward passes"
    )
