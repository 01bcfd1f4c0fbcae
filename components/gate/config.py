"""Parameters of the gate step: the limits, and the comparison with the champion."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from components.shared.config import Config, StepConfig
from components.shared.results.slices import WHOLE_TEXT, Slice


def _parsed(value: Any) -> Any:
    return Slice.parse(value) if isinstance(value, str) else value


# A slice, which is written as text in a parameter file and in JSON.
SliceText = Annotated[Slice, BeforeValidator(_parsed), PlainSerializer(str), WithJsonSchema({"type": "string"})]


class Limit(Config):
    """A measurement and the value that it must reach. A missing or undefined measurement does not reach the limit."""

    name: str = Field(
        min_length=1, description="name of the measurement, as the step evaluate, explain or drift writes it"
    )
    split: Literal["train", "val", "test", "robustness"] = "test"
    slice: SliceText = Field(
        default=WHOLE_TEXT, validate_default=True, description='"all", or a part of the split such as "surface=wall"'
    )
    condition: Literal["before", "after"] = Field(default="after", description="measured before or after fine-tuning")
    op: Literal[">=", ">", "<=", "<"] = ">="
    limit: float = Field(allow_inf_nan=False)
    on: Literal["value", "low", "high"] = Field(
        default="value", description="what is compared: the value, or the lower or upper end of its 95 % interval"
    )


class ChampionConfig(Config):
    """The parameters for the comparison with the champion on this run's test split."""

    metric: Literal["accuracy", "balanced_accuracy", "recall", "f1", "mcc", "auroc", "average_precision"] = "auroc"
    margin: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="with not_worse, a candidate passes if it is at most this much worse than the champion",
    )
    require: Literal["better", "not_worse"] = Field(
        default="not_worse",
        description="better: the whole 95 % interval of the difference must be above 0; not_worse: the whole interval "
        "must be at least -margin",
    )
    resamples: int = Field(
        default=2000, ge=100, le=100_000, description="how often the groups (photos) are resampled for the intervals"
    )
    bootstrap_seed: int = Field(default=0, ge=0, description="seed of the resampling")
    shown: int = Field(
        default=12,
        ge=0,
        le=200,
        description="largest number of tiles that the page shows for each kind of disagreement",
    )


class GateConfig(StepConfig):
    """The parameters of the gate."""

    limits: tuple[Limit, ...] = Field(
        default=(
            Limit(name="auroc", limit=0.8, on="low"),
            Limit(name="auroc", split="robustness", limit=0.7),
        ),
        min_length=1,
        description="a candidate passes only if it reaches all of these limits",
    )
    champion: ChampionConfig | None = Field(
        default=ChampionConfig(), description="null: no comparison with the champion"
    )
    wrong_tiles: int = Field(
        default=12,
        ge=0,
        le=200,
        description="largest number of missed cracks that the report shows as images; the same for false alarms, and "
        "for doubtful tiles of sound concrete",
    )
