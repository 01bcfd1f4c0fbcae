"""How tasks run on Kubernetes: secrets, accelerators, limits. The only importer of kfp.kubernetes."""

from kfp import kubernetes
from kfp.dsl import PipelineTask

from pipelines.run_config import ClusterConfig, Resources

S3_KEYS = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW_KEYS = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


def bounded(task: PipelineTask, cluster: ClusterConfig, resources: Resources | None = None) -> PipelineTask:
    """Give a task its limits and the secrets of the store, which every step writes its failures to."""
    asked = resources or cluster.cpu_step
    task.set_caching_options(False)  # reuse is by run key, see components/shared/reuse.py
    task.set_cpu_request(asked.cpu).set_cpu_limit(asked.cpu)
    task.set_memory_request(asked.memory).set_memory_limit(asked.memory)
    if cluster.retries:
        task.set_retry(cluster.retries, backoff_duration="30s", backoff_factor=2.0)
    return kubernetes.use_secret_as_env(task, cluster.s3_secret, {key: key for key in S3_KEYS})


def with_mlflow(task: PipelineTask, cluster: ClusterConfig) -> PipelineTask:
    """Give a task the credentials of the tracking server."""
    return kubernetes.use_secret_as_env(task, cluster.mlflow_secret, {key: key for key in MLFLOW_KEYS})


def on_gpu(task: PipelineTask, resources: Resources) -> PipelineTask:
    """Put a task on an accelerator, with shared memory for the data loader's workers."""
    if resources.accelerators:
        task.set_accelerator_type(resources.accelerator).set_accelerator_limit(resources.accelerators)
        task = kubernetes.add_toleration(task, key=resources.accelerator, operator="Exists", effect="NoSchedule")
    return kubernetes.empty_dir_mount(
        task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=resources.shared_memory
    )
