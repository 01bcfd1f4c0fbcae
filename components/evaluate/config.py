"""Parameters of the evaluate step."""

from typing import Literal

from pydantic import Field

from components.shared.config import Config, StepConfig


class ThresholdConfig(Config):
    """The rule that chooses the operating threshold on the validation split."""

    rule: Literal["recall_floor", "best_f1", "fixed"] = Field(
        default="recall_floor",
        description="recall_floor: the threshold with the lowest cost, among all thresholds whose recall is at least "
        "`recall`; best_f1: the threshold with the highest F1; fixed: the threshold is `value`",
    )
    recall: float = Field(default=0.95, gt=0, le=1, description="smallest recall that the rule recall_floor allows")
    missed_crack_cost: float = Field(
        default=5.0, gt=0, allow_inf_nan=False, description="a missed crack costs as much as this many false alarms"
    )
    value: float = Field(default=0.5, gt=0, lt=1, description="threshold for the rule fixed, as a calibrated P(crack)")


class TriageConfig(Config):
    """The rule that decides which tiles a person must look at."""

    missed: float = Field(
        default=0.02,
        gt=0,
        lt=1,
        description="of all cracks, at most this share may be answered 'no crack' without review by a person",
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="the confidence with which the limit `missed` must hold for new photos"
    )


class EvaluateConfig(StepConfig):
    """The parameters for the evaluation of one candidate."""

    GIVEN_BY_RUN = StepConfig.GIVEN_BY_RUN | {"seen_corruptions", "tile_mm"}

    resamples: int = Field(
        default=2000,
        ge=0,
        le=100_000,
        description="how often the groups (photos) are resampled for the intervals; 0: no intervals",
    )
    bootstrap_seed: int = Field(default=0, ge=0, description="seed of the resampling")
    threshold: ThresholdConfig = ThresholdConfig()
    triage: TriageConfig = TriageConfig()
    seen_corruptions: tuple[str, ...] = Field(
        default=(), description="corruption families that training uses as augmentation; they are reported separately"
    )
    tile_mm: float | None = Field(
        default=None, gt=0, description="side of a training tile on the concrete in millimetres; null: not known"
    )
