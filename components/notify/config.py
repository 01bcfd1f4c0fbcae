"""Settings of the notify step.

The address of the webhook is a secret, so it is not a setting. The environment variable NOTIFY_WEBHOOK_URL contains it.
"""

from pydantic import Field

from components.shared.config import StepConfig


class NotifyConfig(StepConfig):
    """Settings of the link in the message, and of the attempts to deliver the message."""

    link: str = Field(
        default="", description="address of the run's page in KFP; {job} in it is replaced by the job's id"
    )
    timeout: float = Field(default=10.0, gt=0, le=60, description="seconds after which an attempt is stopped")
    attempts: int = Field(default=3, ge=1, le=10, description="largest number of attempts to deliver the message")
    backoff: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="seconds before the second attempt; the time doubles before each further attempt",
    )
