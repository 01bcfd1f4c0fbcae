"""Parameters of the evaluate step."""

from typing import Literal

from pydantic import Field

from components.shared.config import Config, StepConfig


class ThresholdConfig(Config):
    """The rule that chooses the operating threshold on the validation split."""

    rule: Literal["recall_floor", "best_f1", "fixed"] = Field(
        default="recall_floor",
        description="recall_floor: lowest cost among the thresholds whose recall reaches the floor; best_f1: "
        "highest F1; fixed: the threshold is `value`",
    )
    recall: float = Field(default=0.95, gt=0, le=1, description="lowest recall that recall_floor allows")
    missed_crack_cost: float = Field(
        default=5.0, gt=0, allow_inf_nan=False, description="cost of a missed crack, counted in false alarms"
    )
    value: float = Field(default=0.5, gt=0, lt=1, description="threshold of the rule fixed, a calibrated P(crack)")


class EvaluateConfig(StepConfig):
    """The parameters for the evaluation of one candidate."""

    GIVEN_BY_RUN = StepConfig.GIVEN_BY_RUN | {"seen_corruptions"}

    resamples: int = Field(default=2000, ge=0, le=100_000, description="bootstrap resamples of groups; 0: no intervals")
    bootstrap_seed: int = Field(default=0, ge=0, description="seed of the resampling")
    threshold: ThresholdConfig = ThresholdConfig()
    seen_corruptions: tuple[str, ...] = Field(
        default=(), description="corruption families that training uses as augmentation; they are reported separately"
    )
