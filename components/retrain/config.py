"""What is started where a drift check asks for a retraining."""

from pydantic import Field

from components.shared.config import StepConfig


class RetrainConfig(StepConfig):
    """Whether a drift check may start the training pipeline, and where it finds it."""

    start: bool = Field(default=False, description="start crack-training where the verdict is to retrain")
    again_after_days: int = Field(
        default=30,
        ge=1,
        description="a drift of a champion starts one training; days after which one that lasts starts another",
    )
    endpoint: str = Field(
        default="http://ml-pipeline.kubeflow.svc:8888",
        pattern="^https?://.+",
        description="KFP's API as the step's pod reaches it",
    )
    namespace: str = Field(default="", description="profile's namespace where KFP serves many users")
    service_account: str = Field(default="crack-pipeline", min_length=1, description="of the training's pods")
