"""Parameters of the split."""

from pydantic import Field, model_validator

from components.shared.config import StepConfig


class SplitConfig(StepConfig):
    """Shares of the splits; what they leave is train."""

    val: float = Field(default=0.1, gt=0, lt=1, description="share of the images")
    test: float = Field(default=0.1, gt=0, lt=1, description="share of the images")
    robustness: float = Field(default=0.1, gt=0, lt=1, description="share of the images")
    min_images: int = Field(default=5, ge=1, description="fewest images of each class in each split")

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> "SplitConfig":
        if self.val + self.test + self.robustness > 0.9:
            raise ValueError("val, test and robustness leave less than 0.1 to train")
        return self

    def shares(self) -> dict[str, float]:
        """Share of each split, in the order of `components.shared.manifest.SPLITS`."""
        train = 1 - self.val - self.test - self.robustness
        return {"train": train, "val": self.val, "test": self.test, "robustness": self.robustness}
