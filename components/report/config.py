"""What report is told."""

from pydantic import Field

from components.shared.config import StepConfig


class ReportConfig(StepConfig):
    """How the report is headed."""

    title: str = Field(default="Crack classifier training", min_length=1, description="heading of the report")
