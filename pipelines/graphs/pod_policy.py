"""Set how tasks run on Kubernetes: limits, Secrets, accelerators and user. Only this module imports kfp.kubernetes.

A KFP pipeline cannot set all settings of a pod. KFP's backend forbids privilege escalation, drops all capabilities and
sets the default seccomp profile. The namespace adds a read-only root file system, the priority class and requests for
ephemeral storage (manifests/README.md, "What the namespace adds").
"""

from typing import get_args

from kfp import kubernetes
from kfp.dsl import PipelineConfig, PipelineTask

from components.container_images import Target, container_image, image_reference
from components.shared.mounted_secrets import FOLDER
from pipelines.config.cluster_config import ClusterConfig, GpuResources, Resources
from pipelines.config.run_config import RunConfig

S3_KEYS = ("AWS_ENDPOINT_URL_S3", "AWS_REGION")
MLFLOW_KEYS = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
NOTIFY_KEYS = ("NOTIFY_WEBHOOK_URL",)
MLFLOW_STEPS = frozenset(
    {"champion", "train", "gate", "register", "report", "notify", "collect", "check", "plan", "inspect", "join"}
)
NEVER_RETRIED = frozenset({"notify"})  # notify repeats failed attempts itself, and a retry could send a second message

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
# The namespace's mutating policies give a pod with KFP_LABEL a token for KFP's API, and turn PRIORITY_LABEL into
# `priorityClassName`.
KFP_LABEL = "crack-pipeline/reaches-kfp"
PRIORITY_LABEL = "crack-pipeline/priority-class"


def run_limits(cluster: ClusterConfig) -> PipelineConfig:
    """Return the time limit of a run, and the time from its end until its pods are removed."""
    return PipelineConfig(active_deadline_seconds=cluster.run_deadline, ttl_seconds_after_finished=cluster.run_ttl)


def on_cluster(task: PipelineTask, config: RunConfig, resources: Resources | None = None) -> PipelineTask:
    """Set how a task runs on Kubernetes, and return the task.

    Args:
        task: A task of any of the pipelines.
        config: The parameters. Two of them are used: the section `cluster`, and the folder `cache`, which the task can
            write to.
        resources: CPU, memory, disk and time limit of the task. Default: the step's entry in `cluster.steps`, or the
            default values of `Resources`.
    """
    step = task.component_spec.name
    cluster = config.cluster
    resources = resources or cluster.steps.get(step, Resources())

    task.set_container_image(_image(task))
    task.set_caching_options(False)  # components/shared/reuse.py reuses results instead
    # If there are only limits, Kubernetes uses them as requests too.
    task.set_cpu_limit(resources.cpu).set_memory_limit(resources.memory)
    if cluster.retries and step in cluster.retried and step not in NEVER_RETRIED:
        task.set_retry(cluster.retries, backoff_duration="30s", backoff_factor=2.0)

    kubernetes.set_timeout(task, resources.timeout)
    user = cluster.run_as_user
    kubernetes.set_security_context(task, run_as_user=user, run_as_group=user, run_as_non_root=True)
    _add_secrets(task, step, cluster)
    _add_writable_folders(task, config, resources)
    if step == "retrain":
        kubernetes.add_pod_label(task, KFP_LABEL, "true")
    if isinstance(resources, GpuResources):
        _put_on_accelerator(task, cluster, resources)
    return task


def _image(task: PipelineTask) -> str:
    """Return the reference of the container image that the task's component names."""
    for target in get_args(Target):
        if task.container_spec.image == container_image(target):
            return image_reference(target)
    raise ValueError(f"{task.name}: {task.container_spec.image} is not a container image of this project")


def _add_secrets(task: PipelineTask, step: str, cluster: ClusterConfig) -> None:
    # Every step needs the store, because it writes the cause of a failure there.
    _add_secret(task, cluster.s3_secret)
    if step in MLFLOW_STEPS:
        _add_secret(task, cluster.mlflow_secret)
    if step == "notify":
        _add_secret(task, cluster.notify_secret, optional=True)


def _add_secret(task: PipelineTask, secret: str, optional: bool = False) -> None:
    """Mount a Secret. The step then sets an environment variable for each key of the Secret."""
    kubernetes.use_secret_as_volume(task, secret, mount_path=str(FOLDER / secret), optional=optional)
    mounted = task.platform_config["kubernetes"]["secretAsVolume"][-1]
    # KFP also writes the Secret's name into this field, but reads the field only if `secretName` is missing.
    del mounted["secretNameParameter"]


def _add_writable_folders(task: PipelineTask, config: RunConfig, resources: Resources) -> None:
    """Mount the folders that a step writes to, because the container's root file system is read-only."""
    kubernetes.empty_dir_mount(task, volume_name="tmp", mount_path="/tmp", size_limit=resources.storage)
    if config.cluster.cache_claim:
        kubernetes.mount_pvc(task, config.cluster.cache_claim, mount_path=config.cache)
    elif not config.cache.startswith("/tmp/"):
        kubernetes.empty_dir_mount(task, volume_name="cache", mount_path=config.cache, size_limit=resources.storage)


def _put_on_accelerator(task: PipelineTask, cluster: ClusterConfig, resources: GpuResources) -> None:
    if resources.accelerators:
        task.set_accelerator_type(resources.accelerator).set_accelerator_limit(resources.accelerators)
        # If the GPUs of a node are split into MIG parts, the node may still have the taint of the whole accelerator.
        vendor = resources.accelerator.partition("/")[0]
        for taint in sorted({resources.accelerator, f"{vendor}/gpu"}):
            kubernetes.add_toleration(task, key=taint, operator="Exists", effect="NoSchedule")

    for label, value in resources.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    # A pod's own /dev/shm has 64 MB. Data loader workers need more.
    kubernetes.empty_dir_mount(
        task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=resources.shared_memory
    )
    if cluster.queue:
        kubernetes.add_pod_label(task, QUEUE_LABEL, cluster.queue)
    if cluster.priority_class:
        kubernetes.add_pod_label(task, PRIORITY_LABEL, cluster.priority_class)
