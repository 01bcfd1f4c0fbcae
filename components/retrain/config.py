"""Settings of the retrain step."""

from pydantic import Field

from components.shared.config import StepConfig


class RetrainConfig(StepConfig):
    """Settings that say whether a drift check may start the training pipeline, and where KFP is."""

    start: bool = Field(default=False, description="start crack-training if the verdict is to retrain")
    again_after_days: int = Field(
        default=30,
        ge=1,
        description="days after which a drift that lasts starts another training",
    )
    endpoint: str = Field(
        default="http://ml-pipeline.kubeflow.svc:8888",
        pattern="^https?://.+",
        description="address of KFP's API inside the cluster",
    )
    namespace: str = Field(
        default="", description="profile's namespace, if KFP serves many users; empty: the namespace of the step's pod"
    )
    service_account: str = Field(
        default="crack-pipeline", min_length=1, description="service account of the training's pods"
    )
