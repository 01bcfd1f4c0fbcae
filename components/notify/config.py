"""Settings of notify. The webhook's address is a secret and comes from the environment: NOTIFY_WEBHOOK_URL."""

from pydantic import Field

from components.shared.config import StepConfig


class NotifyConfig(StepConfig):
    """Settings of the message's link and of the attempts to deliver the message."""

    link: str = Field(default="", description="address of the run's page; {job} is replaced by the job's id")
    timeout: float = Field(default=10.0, gt=0, le=60, description="seconds for one attempt")
    attempts: int = Field(default=3, ge=1, le=10, description="attempts to deliver the message")
    backoff: float = Field(default=1.0, ge=0, le=60, description="seconds before the second attempt; doubles each time")
