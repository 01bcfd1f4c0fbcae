"""Settings of the pipeline's pods on Kubernetes: the resources of each step, the Secrets and the time limits."""

from typing import Annotated, Literal

from pydantic import Field

from components.shared.config import Config

CpuStep = Literal[
    "ingest", "split", "evaluate", "drift", "gate", "select", "register", "refuse", "report", "notify",
    "check", "retrain", "plan", "join",
]  # fmt: skip
GpuStep = Literal["champion", "train", "predict", "explain", "collect", "inspect"]
Cores = Annotated[str, Field(pattern=r"^([0-9]*[.])?[0-9]+m?$", description="cores, such as 2 or 500m")]
Bytes = Annotated[str, Field(pattern=r"^[1-9][0-9]*([EPTGMK]i|[EPTGM])?$", description="bytes, such as 8Gi")]


class Resources(Config):
    """The resources that a step's pod requests. They are also its limits, so that pods do not slow each other down."""

    cpu: Cores = "2"
    memory: Bytes = "8Gi"
    storage: Bytes = Field(default="20Gi", description="bytes in /tmp, the writable folder")
    timeout: int = Field(default=2 * 3600, gt=0, description="seconds until the pod is stopped")


class GpuResources(Resources):
    """The CPU, memory and GPUs that a pod requests if its step runs a neural network."""

    cpu: Cores = "8"
    memory: Bytes = Field(default="32Gi", description="bytes; files in shared_memory count too")
    storage: Bytes = Field(default="100Gi", description="bytes in /tmp, the writable folder")
    timeout: int = Field(default=24 * 3600, gt=0, description="seconds until the pod is stopped")
    accelerator: str = Field(
        default="nvidia.com/gpu", min_length=1, description="resource name, such as nvidia.com/mig-1g.10gb"
    )
    accelerators: int = Field(default=1, ge=0, description="number of accelerators; 0: none")
    shared_memory: Bytes = Field(default="8Gi", description="bytes in /dev/shm, for the data loader's workers")
    node_selector: dict[str, str] = Field(default={}, description="labels that the node must have")


class CandidateResources(Config):
    """The resources of the three steps that run a candidate's network."""

    train: GpuResources = GpuResources()
    predict: GpuResources = GpuResources(timeout=4 * 3600)
    explain: GpuResources = GpuResources(timeout=4 * 3600)


class ClusterConfig(Config):
    """The settings of the pipeline's pods on Kubernetes. They name Secrets, but never contain secret values."""

    service_account: str = Field(default="crack-pipeline", min_length=1, description="ServiceAccount of the run's pods")
    s3_secret: str = Field(default="crack-s3", min_length=1, description="Secret with the AWS_* variables")
    mlflow_secret: str = Field(default="crack-mlflow", min_length=1, description="Secret with MLFLOW_TRACKING_*")
    notify_secret: str = Field(
        default="crack-notify", min_length=1, description="Secret with NOTIFY_WEBHOOK_URL; it is optional"
    )
    run_as_user: int = Field(default=10001, gt=0, description="user id in every step's container")
    steps: dict[CpuStep, Resources] = Field(
        default={}, description="resources of CPU steps that need more than the default"
    )
    champion: GpuResources = GpuResources(timeout=4 * 3600)
    collect: GpuResources = GpuResources(timeout=4 * 3600)
    inspect: GpuResources = Field(default=GpuResources(), description="resources of each pod that inspects photos")
    cache_claim: str = Field(default="", description="PersistentVolumeClaim for `cache`; empty: use the pod's own disk")
    retries: int = Field(
        default=2,
        ge=0,
        description="largest number of retries of a step in `retried`; the waits before them are 30 s, 60 s, …",
    )
    retried: list[CpuStep | GpuStep] = Field(
        default=["ingest", "train", "collect", "inspect"],
        description="steps that are retried; by default, the long steps. Argo's settings decide after which failures a "
        "step is retried; see manifests/README.md",
    )
    queue: str = Field(default="", description="Kueue LocalQueue of the GPU steps; empty: no queue")
    priority_class: str = Field(default="", description="PriorityClass of the GPU steps; see manifests/README.md")
    run_deadline: int = Field(default=3 * 24 * 3600, gt=0, description="seconds until a run is stopped")
    run_ttl: int = Field(default=7 * 24 * 3600, gt=0, description="seconds that the pods of a finished run are kept")
