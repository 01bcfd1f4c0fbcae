"""How tasks run on Kubernetes: limits, secrets, accelerators, identity. The only importer of kfp.kubernetes.

KFP can say only a part of a pod's policy. Its backend adds that privileges cannot grow, that all capabilities are
dropped, and the runtime's default seccomp profile; the namespace adds a read-only root, the priority class and requests
for ephemeral storage (manifests/README.md, "What the namespace adds").
"""

from typing import get_args

from kfp import kubernetes
from kfp.dsl import PipelineConfig, PipelineTask

from components.container_images import Target, container_image, image_reference
from pipelines.config.cluster_config import ClusterConfig, GpuResources, Resources
from pipelines.config.run_config import RunConfig

S3_KEYS = ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW_KEYS = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
NOTIFY_KEYS = ("NOTIFY_WEBHOOK_URL",)
MLFLOW_STEPS = frozenset({"champion", "train", "gate", "register", "report", "notify", "collect", "check"})
NOT_REPEATED = frozenset({"notify"})  # a message sent twice is worse than none; it tries again by itself
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
KFP_LABEL = "crack-pipeline/reaches-kfp"  # the namespace's mutating policy gives such a pod a token for KFP's API
PRIORITY_LABEL = "crack-pipeline/priority-class"  # the namespace's mutating policy turns it into priorityClassName


def run_limits(cluster: ClusterConfig) -> PipelineConfig:
    """Return when a run is stopped, and when what is left of it is removed."""
    return PipelineConfig(active_deadline_seconds=cluster.run_deadline, ttl_seconds_after_finished=cluster.run_ttl)


def on_cluster(task: PipelineTask, config: RunConfig, resources: Resources | None = None) -> PipelineTask:
    """Put a task under the policy of its step.

    Args:
        task: A task of any of the pipelines.
        config: The cluster's part says what holds for all tasks; `cache` must be writable.
        resources: What the task asks for; without, what the parameter file says of its step.
    """
    step, cluster = task.component_spec.name, config.cluster
    resources = resources or cluster.steps.get(step, Resources())
    task.set_container_image(_image(task))
    task.set_caching_options(False)  # reuse is by run key, see components/shared/reuse.py
    task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
    task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    if cluster.retries and step not in NOT_REPEATED:
        task.set_retry(cluster.retries, backoff_duration="30s", backoff_factor=2.0)
    kubernetes.set_timeout(task, resources.timeout)
    user = cluster.run_as_user
    kubernetes.set_security_context(task, run_as_user=user, run_as_group=user, run_as_non_root=True)
    _give_secrets(task, step, cluster)
    _give_folders(task, config, resources)
    if step == "retrain":
        kubernetes.add_pod_label(task, KFP_LABEL, "true")
    if isinstance(resources, GpuResources):
        _put_on_accelerator(task, cluster, resources)
    return task


def _image(task: PipelineTask) -> str:
    """The reference of the image that the task's component asks for by name."""
    (target,) = (target for target in get_args(Target) if task.container_spec.image == container_image(target))
    return image_reference(target)


def _give_secrets(task: PipelineTask, step: str, cluster: ClusterConfig) -> None:
    # every step leaves the cause of its failure in the store
    kubernetes.use_secret_as_env(task, cluster.s3_secret, {key: key for key in S3_KEYS})
    if step in MLFLOW_STEPS:
        kubernetes.use_secret_as_env(task, cluster.mlflow_secret, {key: key for key in MLFLOW_KEYS})
    if step == "notify":
        kubernetes.use_secret_as_env(task, cluster.notify_secret, {key: key for key in NOTIFY_KEYS}, optional=True)


def _give_folders(task: PipelineTask, config: RunConfig, resources: Resources) -> None:
    """Make the folders writable that a read-only root leaves to be written to."""
    kubernetes.empty_dir_mount(task, volume_name="tmp", mount_path="/tmp", size_limit=resources.storage)
    if config.cluster.cache_claim:
        kubernetes.mount_pvc(task, config.cluster.cache_claim, mount_path=config.cache)
    elif not config.cache.startswith("/tmp/"):
        kubernetes.empty_dir_mount(task, volume_name="cache", mount_path=config.cache, size_limit=resources.storage)


def _put_on_accelerator(task: PipelineTask, cluster: ClusterConfig, resources: GpuResources) -> None:
    if resources.accelerators:
        task.set_accelerator_type(resources.accelerator).set_accelerator_limit(resources.accelerators)
        vendor = resources.accelerator.partition("/")[0]  # a node cut into MIG parts may bear the whole one's taint
        for taint in sorted({resources.accelerator, f"{vendor}/gpu"}):
            kubernetes.add_toleration(task, key=taint, operator="Exists", effect="NoSchedule")
    for label, value in resources.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    kubernetes.empty_dir_mount(  # a pod's own /dev/shm has 64 MB, on which data loader workers die
        task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=resources.shared_memory
    )
    if cluster.queue:
        kubernetes.add_pod_label(task, QUEUE_LABEL, cluster.queue)
    if cluster.priority_class:
        kubernetes.add_pod_label(task, PRIORITY_LABEL, cluster.priority_class)
