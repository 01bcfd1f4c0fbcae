"""Make a compiled pipeline small.

KFP's backend writes the settings of each step (component, container and inputs) about six times into the run's status
in Kubernetes. If the status is larger than 1 MiB, Argo compresses it. Then KFP's API shows old states of the steps
until the end of the run. So the submitted pipeline contains only the settings that a step needs to run.
"""

import json
import math
from collections.abc import Mapping

import yaml
from kfp.pipeline_spec.pipeline_spec_pb2 import ComponentSpec, PipelineSpec, TaskInputsSpec

EXECUTOR = "kfp.dsl.executor_main"
# KFP writes each resource twice, as text and as a number in one of these fields. Its backend reads the number only if
# there is no text.
OLD_RESOURCES = ("cpuLimit", "memoryLimit")


def name_functions(pipeline: PipelineSpec, folders: Mapping[str, str]) -> None:
    """Replace the source code in every component by a command that imports the component's function.

    Args:
        pipeline: A compiled pipeline. It is changed.
        folders: Name of each component's function -> folder in `components/` that contains it.
    """
    for executor in pipeline.deployment_spec["executors"].values():
        container = executor["container"]
        arguments = list(container["args"])
        function = arguments[arguments.index("--function_to_execute") + 1]
        container["command"] = ["python3", "-m", "components.step_process", folders[function], EXECUTOR]


def keep_only_what_runs(pipeline: PipelineSpec) -> None:
    """Remove the parts of a pipeline that neither KFP's backend nor a step reads.

    For example, the definitions of a component's inputs are removed. The backend reads them only for inputs that may be
    missing, and no component of ours has such inputs. KFP's local runner does need the definitions.
    """
    for executor in pipeline.deployment_spec["executors"].values():
        resources = executor["container"]["resources"].fields
        for name in OLD_RESOURCES:
            resources.pop(name, None)

    for definition in pipeline.root.input_definitions.parameters.values():
        definition.ClearField("description")
    for component in pipeline.components.values():
        component.ClearField("input_definitions")
        _make_outputs_small(component)
        for task in component.dag.tasks.values():
            if "config" in task.inputs.parameters:
                _write_as_yaml(task.inputs.parameters["config"])


def _make_outputs_small(component: ComponentSpec) -> None:
    for definition in component.output_definitions.parameters.values():
        definition.ClearField("description")
    for artifact in component.output_definitions.artifacts.values():
        artifact.ClearField("description")
        artifact.artifact_type.ClearField("schema_version")


def _write_as_yaml(config: TaskInputsSpec.InputParameterSpec) -> None:
    """Write a step's configuration as YAML in one line. YAML is shorter, because KFP escapes every quote of JSON."""
    constant = config.runtime_value.constant
    values = json.loads(constant.string_value)
    constant.string_value = yaml.safe_dump(values, default_flow_style=True, width=math.inf, sort_keys=False).strip()
