"""Read the details of a run from KFP's API: its steps and their states.

KFP may show old states for the steps of a large run. Argo compresses the status of a workflow if it is larger than
1 MiB, and KFP does not read a compressed status. A step that is shown as ended has ended. A step that is shown as
running may have ended long ago.
"""

import re
from typing import Any

from pipelines.graphs.compile import CompiledPipeline

STEP_GROUPS = ("exit-handler-", "condition-")  # tasks that only contain other tasks; they are not shown to people
DRIVER = "-driver"  # the end of the name of the pod that prepares a step


def step_names(compiled: CompiledPipeline) -> dict[str, str]:
    """Return the steps of a pipeline as a dict: name in KFP -> display name, such as "train-2" -> "train vit"."""
    names = {}
    for key, name in compiled.tasks.items():
        if not key.startswith(STEP_GROUPS):
            # If several tasks have the same component, KFP adds a number, such as register-2. The steps of a candidate
            # have a display name with a space instead.
            names[key] = name if " " in name else re.sub(r"-\d+$", "", name)
    return names


def task_details(run: Any) -> list[Any]:
    """Return the details of a run's tasks. The list is empty if KFP does not have any details yet."""
    return (run.run_details and run.run_details.task_details) or []


def steps_in_state(run: Any, names: dict[str, str], state: str) -> dict[str, Any]:
    """Return the steps that have this state in KFP as a dict: display name -> details."""
    found = {}
    for task in task_details(run):
        name = names.get(task.display_name) or names.get(task.display_name.removesuffix(DRIVER))
        is_driver = task.display_name not in names
        if name and task.state == state and (not is_driver or state == "FAILED"):
            found[name] = task
    return found


def was_stopped(run: Any) -> bool:
    """Return whether the run was stopped.

    KFP may give a stopped run the state FAILED. Then only the run's history shows the stop.
    """
    history = [status.state for status in run.state_history or []]
    return run.state == "CANCELED" or (run.state == "FAILED" and "CANCELING" in history)
