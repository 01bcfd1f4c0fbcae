"""Compute the cost of each step of a run: the hours of the step's pods and of the resources that they requested."""

import datetime
from collections import defaultdict
from dataclasses import dataclass, field

from rich.table import Table

from pipelines.cluster.workflow_nodes import PodRecord

HELPERS = "KFP's drivers"
TOTAL = "all"
POD_HOURS = "pod hours"
# Resource -> (our unit, factor). Argo's seconds times this factor / 3600 give the amount in our unit. See
# "Resource Duration" in Argo's documentation.
UNITS = {"cpu": ("CPU hours", 1.0), "memory": ("GiB hours", 100 / 1024)}
NOT_SHOWN = ("storage", "ephemeral-storage")


@dataclass
class StepCost:
    """The cost of one step: the hours of its pods and of the resources that they requested.

    Attributes:
        pods: Number of pods. After a retry, there is more than one pod.
        hours: Unit, such as "pod hours", "CPU hours" or "nvidia.com/gpu hours" -> hours.
    """

    pods: int = 0
    hours: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


def costs_by_step(pods: list[PodRecord], names: dict[str, str], now: datetime.datetime) -> dict[str, StepCost]:
    """Return the cost of each step, in the order of their first pods, and the sum of all steps.

    Args:
        pods: The pods of the run.
        names: Name of each step in KFP -> display name. A pod of any other task counts as a driver of KFP.
        now: The current time. A pod that still runs is counted until now.
    """
    costs: dict[str, StepCost] = {}
    for pod in pods:
        for name in (names.get(pod.task, HELPERS), TOTAL):
            cost = costs.setdefault(name, StepCost())
            cost.pods += 1
            for unit, hours in _hours(pod, now).items():
                cost.hours[unit] += hours

    # The drivers and the sum come last.
    for name in (HELPERS, TOTAL):
        if name in costs:
            costs[name] = costs.pop(name)
    return costs


def cost_table(title: str, costs: dict[str, StepCost]) -> Table:
    """Return a table of the cost of each step."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    units = list(costs[TOTAL].hours) if TOTAL in costs else []
    table.add_column("step")
    for unit in ("pods", *units):
        table.add_column(unit, justify="right")

    for name, cost in costs.items():
        table.add_row(name, str(cost.pods), *(f"{cost.hours[unit]:.3f}" for unit in units))
    return table


def _hours(pod: PodRecord, now: datetime.datetime) -> dict[str, float]:
    """Return a dict: unit -> hours. The hours of a resource include only the time in which the pod's containers run."""
    hours = {}
    if pod.started:
        hours[POD_HOURS] = ((pod.finished or now) - pod.started) / datetime.timedelta(hours=1)

    for resource, amount in pod.resources.items():
        if resource not in NOT_SHOWN:
            unit, factor = UNITS.get(resource, (f"{resource} hours", 1.0))
            hours[unit] = amount * factor / 3600
    return hours
