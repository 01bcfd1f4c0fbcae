"""Settings of the retrain step."""

from pydantic import Field

from components.shared.config import StepConfig


class RetrainConfig(StepConfig):
    """Settings that say whether a drift check may start the training pipeline, and how to reach KFP."""

    start: bool = Field(
        default=False, description='true: start crack-training if the drift check has the result "retrain"'
    )
    again_after_days: int = Field(
        default=30,
        ge=1,
        description="if the drift lasts, the step starts another training after this many days",
    )
    endpoint: str = Field(
        default="http://ml-pipeline.kubeflow.svc:8888",
        pattern="^https?://.+",
        description="address of KFP's API inside the cluster",
    )
    namespace: str = Field(
        default="",
        description="namespace of the user's profile, if KFP has many users; empty: the namespace of the step's pod",
    )
    service_account: str = Field(
        default="crack-pipeline", min_length=1, description="service account for the pods of the training"
    )
