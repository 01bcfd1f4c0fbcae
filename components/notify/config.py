"""What notify is told; the webhook's address is a secret and stands in the environment as NOTIFY_WEBHOOK_URL."""

from pydantic import Field

from components.shared.config import StepConfig


class NotifyConfig(StepConfig):
    """The message's link, and how hard to try to deliver it."""

    link: str = Field(default="", description="where the run can be looked at; {job} is replaced by the job's id")
    timeout: float = Field(default=10.0, gt=0, le=60, description="seconds for one attempt")
    attempts: int = Field(default=3, ge=1, le=10, description="attempts to deliver")
    backoff: float = Field(default=1.0, ge=0, le=60, description="seconds before the second attempt; doubles each time")
