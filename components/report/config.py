"""The parameters of report."""

from pydantic import Field

from components.shared.config import StepConfig


class ReportConfig(StepConfig):
    """The report's heading."""

    title: str = Field(default="Crack classifier training", min_length=1, description="heading of the report")
