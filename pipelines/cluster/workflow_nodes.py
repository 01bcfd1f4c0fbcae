"""Read the pods of a run from its Argo workflow: their steps, names, times and requested resources.

KFP's current API does not show the pods of tasks, so we read the workflow from KFP's old API. If the status of a large
workflow is compressed, we decompress the status. So the data in this module is always current. The details in
run_details.py may be old.
"""

import base64
import datetime
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.shared.services.kfp_api import KfpApi

# Argo runs a task's own program in a node whose name ends with this word, or with executor(1) after a retry.
PROGRAM = "executor"
POD_NAME_FORMAT = "workflows.argoproj.io/pod-name-format"


@dataclass(frozen=True)
class PodRecord:
    """A pod of a run.

    Attributes:
        name: The pod's name in Kubernetes.
        task: KFP's name of the task whose program ran in the pod, such as train-2. If a driver ran in the pod, the
            name of the driver, such as train-2-driver.
        started: The time when Argo created the pod. None if the time is not known.
        finished: The time when the pod ended. None if it has not ended.
        resources: Name of a requested resource -> the amount times the seconds of use, in Argo's units. For memory, the
            unit of the amount is 100 MiB. For cpu and accelerators, the amount is a number of CPUs or accelerators.
    """

    name: str
    task: str
    started: datetime.datetime | None
    finished: datetime.datetime | None
    resources: Mapping[str, float]


def read_pods(api: KfpApi, run_id: str) -> list[PodRecord]:
    """Return the pods of a run in the order in which they started.

    Raises:
        KfpError: KFP does not answer, or does not show the workflow.
    """
    workflow = api.workflow(run_id)
    pods = []
    for node in _nodes(workflow):
        if node.get("type") == "Pod":
            pods.append(_pod_record(workflow, node))

    never = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    return sorted(pods, key=lambda pod: pod.started or never)


def newest_pods(pods: list[PodRecord]) -> dict[str, str]:
    """Return a dict: KFP's name of each task -> name of its newest pod."""
    return {pod.task: pod.name for pod in pods}


def _nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    status = workflow.get("status", {})
    nodes = status.get("nodes")
    if not nodes and status.get("compressedNodes"):
        nodes = json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))
    return list((nodes or {}).values())


def _pod_record(workflow: dict[str, Any], node: dict[str, Any]) -> PodRecord:
    # KFP's manifests let Argo retry every template. So every part of the name may end with the number of an attempt.
    parts = [part.partition("(")[0] for part in node["name"].split(".")]
    is_program = len(parts) > 1 and parts[-1] == PROGRAM
    return PodRecord(
        name=_pod_name(workflow["metadata"], node),
        task=parts[-2] if is_program else parts[-1],
        started=_time(node.get("startedAt")),
        finished=_time(node.get("finishedAt")),
        resources=node.get("resourcesDuration") or {},
    )


def _pod_name(metadata: dict[str, Any], node: dict[str, Any]) -> str:
    """Return the name that Argo gives to a node's pod: the workflow, the template, and the hash of the node's id."""
    if metadata.get("annotations", {}).get(POD_NAME_FORMAT) == "v1":
        return node["id"]
    if node["name"] == metadata["name"]:
        return metadata["name"]
    hashed = node["id"].rpartition("-")[2]
    return f"{metadata['name']}-{node['templateName']}-{hashed}"


def _time(text: str | None) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None
