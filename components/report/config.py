"""Parameters of the report step."""

from pydantic import Field

from components.shared.config import StepConfig


class ReportConfig(StepConfig):
    """The parameters of the report."""

    title: str = Field(default="Crack classifier training", min_length=1, description="heading of the report")
