"""Make a compiled pipeline small.

KFP's backend writes each step's settings about six times into the run's status in Kubernetes: its component, its
container and its inputs. If the status is larger than 1 MiB, Argo compresses it, and KFP's API then shows old states of
the steps until the end of the run. So the submitted pipeline contains only what a step needs to run.
"""

from collections.abc import Mapping

from kfp.pipeline_spec.pipeline_spec_pb2 import ComponentSpec, PipelineSpec

EXECUTOR = "kfp.dsl.executor_main"
# Numbers that KFP writes next to the same resources as text. Its backend reads them only where there is no text.
OLD_RESOURCES = ("cpuLimit", "memoryLimit")


def compact(pipeline: PipelineSpec, folders: Mapping[str, str]) -> None:
    """Replace the source of every component's function by the place of the function, and remove the descriptions.

    Args:
        pipeline: A compiled pipeline; it is changed.
        folders: Folder in `components/` of each component's function: name -> folder.
    """
    for executor in pipeline.deployment_spec["executors"].values():
        container = executor["container"]
        arguments = list(container["args"])
        function = arguments[arguments.index("--function_to_execute") + 1]
        container["command"] = ["python3", "-m", "components.step_process", folders[function], EXECUTOR]

        for name in OLD_RESOURCES:
            container["resources"].fields.pop(name, None)

    for component in (pipeline.root, *pipeline.components.values()):
        _make_small(component)


def _make_small(component: ComponentSpec) -> None:
    """Remove the descriptions, the input artifacts and the versions of the types.

    KFP reads an input artifact's type from ML Metadata, and no backend reads the version of a type.
    """
    component.input_definitions.artifacts.clear()
    for definitions in (component.input_definitions, component.output_definitions):
        for definition in (*definitions.parameters.values(), *definitions.artifacts.values()):
            definition.ClearField("description")
    for artifact in component.output_definitions.artifacts.values():
        artifact.artifact_type.ClearField("schema_version")
