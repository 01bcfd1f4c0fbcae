"""Make a compiled pipeline small.

KFP's backend writes the settings of each step (component, container and inputs) about six times into the run's status
in Kubernetes. If the status is larger than 1 MiB, Argo compresses it, and KFP's API then shows old states of the steps
until the end of the run. So the submitted pipeline contains only what a step needs to run.
"""

from collections.abc import Mapping

from kfp.pipeline_spec.pipeline_spec_pb2 import ComponentSpec, PipelineSpec

EXECUTOR = "kfp.dsl.executor_main"


def compact(pipeline: PipelineSpec, folders: Mapping[str, str]) -> None:
    """Replace the source of every component's function by the place of the function, and remove the descriptions.

    Args:
        pipeline: A compiled pipeline; it is changed.
        folders: Name of each component's function -> folder in `components/` that contains it.
    """
    for executor in pipeline.deployment_spec["executors"].values():
        container = executor["container"]
        arguments = list(container["args"])
        function = arguments[arguments.index("--function_to_execute") + 1]
        container["command"] = ["python3", "-m", "components.step_process", folders[function], EXECUTOR]

    _remove_descriptions(pipeline.root)
    for component in pipeline.components.values():
        _remove_descriptions(component)


def _remove_descriptions(component: ComponentSpec) -> None:
    for definitions in (component.input_definitions, component.output_definitions):
        for definition in (*definitions.parameters.values(), *definitions.artifacts.values()):
            definition.ClearField("description")
