"""An Argo workflow as KFP's old API shows it: nodes by id, names with the path of the tasks, templates, times."""

import base64
import gzip
import json
from typing import Any

NAME = "crack-training-x"
TEMPLATE = "system-container-impl"
DRIVER = "system-container-driver"


def a_workflow(*pods: tuple[str, str, str], **nodes: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow.

    Args:
        pods: (end of the node's name, number in the node's id, phase) for each pod.
        nodes: Changes to nodes, such as `pod_1={...}`. A node without changes has run for one hour with half a CPU and
            1000 MiB.
    """
    found = {}
    for path, number, phase in pods:
        node = {
            "id": f"{NAME}-{number}",
            "name": f"{NAME}.{path}",
            "displayName": path.rpartition(".")[2],
            "type": "Pod",
            "templateName": DRIVER if path.endswith("-driver") else TEMPLATE,
            "phase": phase,
            "startedAt": f"2026-11-30T10:0{number}:00Z",
            "finishedAt": f"2026-11-30T11:0{number}:00Z",
            "resourcesDuration": {"cpu": 1800, "memory": 36_000, "ephemeral-storage": 7},
        }
        found[node["id"]] = node | nodes.get(f"pod_{number}", {})
    steps = {f"{NAME}-0": {"id": f"{NAME}-0", "name": NAME, "type": "DAG", "phase": "Running"}}
    return {"metadata": {"name": NAME}, "status": {"nodes": steps | found}}


def compressed(workflow: dict[str, Any]) -> dict[str, Any]:
    """Return the workflow as Argo stores it once its nodes are larger than 1 MiB."""
    content = gzip.compress(json.dumps(workflow["status"]["nodes"]).encode())
    return workflow | {"status": {"compressedNodes": base64.b64encode(content).decode()}}
