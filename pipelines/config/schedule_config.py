"""Settings of a pipeline that runs on a schedule."""

from typing import Literal

from pydantic import Field, field_validator

from components.shared.config import Config
from pipelines.config.cron import cron_for_kfp

PipelineName = Literal["crack-training", "crack-drift-check", "crack-inspection"]


class ScheduleConfig(Config):
    """The schedule of a pipeline. At most one of its runs is active at a time. A missed run is not started later."""

    cron: str = Field(description='UTC: minute, hour, day of month, month, day of week, such as "0 2 * * 1"')
    parameters: dict[str, str | int | float | bool] = Field(
        default={}, description="run-time parameters that differ from their defaults"
    )

    @field_validator("cron")
    @classmethod
    def _parses(cls, cron: str) -> str:
        cron_for_kfp(cron)
        return cron
