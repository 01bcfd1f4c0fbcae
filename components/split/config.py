"""Parameters of the split step."""

from typing import ClassVar

from pydantic import Field, model_validator

from components.shared.config import Config, StepConfig


class HeldOut(Config):
    """One surface or one source that is held out: no model is trained on it."""

    surface: str | None = Field(default=None, description="deck, pavement, wall or unknown")
    source: str | None = Field(default=None, description="name of a source, as the data set report lists it")

    @model_validator(mode="after")
    def _one_of_them(self) -> "HeldOut":
        if (self.surface is None) == (self.source is None):
            raise ValueError(
                f"robustness must have either a surface or a source, but surface is {self.surface} and source is "
                f"{self.source}; give exactly one of them"
            )
        return self

    def column_and_value(self) -> tuple[str, str]:
        """Return a column of the manifest, and the held-out value of this column, such as ("surface", "wall")."""
        return ("surface", self.surface) if self.surface is not None else ("source", self.source or "")


class SplitConfig(StepConfig):
    """The shares of the splits, and the leak check. The split `train` gets all images that no other split gets."""

    # These settings do not change the splits, so they do not change the key of the ledger.
    WITHOUT_EFFECT: ClassVar[frozenset[str]] = StepConfig.WITHOUT_EFFECT | {
        "leak_sample",
        "leak_correlation",
        "leak_overlap",
    }

    val: float = Field(default=0.1, gt=0, lt=1, description="share of the images in the split val")
    test: float = Field(default=0.1, gt=0, lt=1, description="share of the images in the split test")
    robustness: float | HeldOut = Field(
        default=0.1,
        description="share of the images in the split robustness; or a held-out surface or source, such as "
        "{surface: wall}: this split then has all images of the surface or source, and the other shares refer to the "
        "other images",
    )
    min_images: int = Field(default=5, ge=1, description="smallest number of images of each class in each split")
    leak_sample: int = Field(
        default=5000,
        ge=0,
        description="largest number of tiles that the leak check reads and compares; 0: no tiles are compared",
    )
    leak_correlation: float = Field(
        default=0.93,
        gt=0,
        le=1,
        description="two tiles in different splits are a leak if the correlation of their fine structure is at least "
        "this number",
    )
    leak_overlap: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="two tiles in different splits are a leak if they share a fifth of a tile or more, and the "
        "correlation is at least this number, such as 0.7, in each quarter of the area that both show, and between its "
        "strong structures; null does not look for overlaps",
    )

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> "SplitConfig":
        if isinstance(self.robustness, float) and not 0 < self.robustness < 1:
            raise ValueError(f"robustness is {self.robustness}; it must be between 0 and 1")
        if self.shares()["train"] < 0.1 - 1e-9:
            given = ", ".join(f"{name} {share:g}" for name, share in self.shares().items() if name != "train")
            raise ValueError(f"the shares {given} leave less than 0.1 for train; lower at least one of these shares")
        return self

    def shares(self) -> dict[str, float]:
        """Return the share of each split. The shares sum to 1.

        If a surface or source is held out, the split robustness has no share. The other shares then refer to the images
        that are not held out.
        """
        shares = {"val": self.val, "test": self.test}
        if isinstance(self.robustness, float):
            shares["robustness"] = self.robustness
        train = 1 - self.val - self.test - shares.get("robustness", 0)
        return {"train": train, **shares}
