"""Prepare a step of a compiled pipeline as KFP's launcher does: resolve inputs, name outputs, build the command.

Artifacts are under s3://artifacts/TASK/NAME, which KFP's executor reads from /s3/artifacts.
"""

import json
from pathlib import Path
from typing import Any

import yaml

JOB = "job-1"


class Compiled:
    """A compiled pipeline and the artifacts of its tasks."""

    def __init__(self, path: Path, artifacts: Path):
        self.spec = next(yaml.load_all(path.read_text(), yaml.CSafeLoader))
        self.artifacts = artifacts
        graphs = [self.spec["root"], *self.spec["components"].values()]
        self.tasks = {key: task for graph in graphs for key, task in graph.get("dag", {}).get("tasks", {}).items()}

    def path(self, task: str, name: str) -> Path:
        """Return the local path of a task's output artifact, and create its folder."""
        path = self.artifacts / "artifacts" / task / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o777)
        return path

    def returned(self, task: str) -> Any:
        """Return the only output parameter of a task that has ended."""
        return json.loads(self.path(task, "executor_output.json").read_text())["parameterValues"]["Output"]

    def runs(self, task: str) -> bool:
        """Return whether a task is a container and not a group of tasks."""
        return "executorLabel" in self.spec["components"][self.tasks[task]["componentRef"]["name"]]

    def image(self, task: str) -> str:
        """Return a task's container image."""
        return self._container(task)["image"]

    def command(self, task: str, given: dict[str, Any]) -> list[str]:
        """Return a task's command line; `given` has the inputs that are not fixed in the pipeline."""
        container = self._container(task)
        definition = self.spec["components"][self.tasks[task]["componentRef"]["name"]]
        inputs, outputs = self.tasks[task].get("inputs", {}), definition.get("outputDefinitions", {})
        message = {
            "inputs": {
                "parameterValues": {
                    name: _constant(source) if "runtimeValue" in source else given[name]
                    for name, source in inputs.get("parameters", {}).items()
                },
                "artifacts": {name: self._artifact(source) for name, source in inputs.get("artifacts", {}).items()},
            },
            "outputs": {
                "artifacts": {
                    name: self._described(task, name, kind["artifactType"]["schemaTitle"])
                    for name, kind in outputs.get("artifacts", {}).items()
                },
                "parameters": {
                    name: {"outputFile": f"/s3/artifacts/{task}/{name}"} for name in outputs.get("parameters", {})
                },
                "outputFile": f"/s3/artifacts/{task}/executor_output.json",
            },
        }
        self.path(task, "executor_output.json")
        filled = json.dumps(message)
        return [part.replace("{{$}}", filled) for part in [*container["command"], *container["args"]]]

    def _container(self, task: str) -> dict[str, Any]:
        label = self.spec["components"][self.tasks[task]["componentRef"]["name"]]["executorLabel"]
        return self.spec["deploymentSpec"]["executors"][label]["container"]

    def _artifact(self, source: dict[str, Any]) -> dict[str, Any]:
        if "taskOutputArtifact" in source:
            task = source["taskOutputArtifact"]["producerTask"]
            return self._described(task, source["taskOutputArtifact"]["outputArtifactKey"])
        name = source["componentInputArtifact"].removeprefix("pipelinechannel--")
        task = max((task for task in self.tasks if name.startswith(f"{task}-")), key=len)
        return self._described(task, name.removeprefix(f"{task}-"))

    def _described(self, task: str, name: str, title: str = "") -> dict[str, Any]:
        if not title:
            outputs = self.spec["components"][self.tasks[task]["componentRef"]["name"]]["outputDefinitions"]
            title = outputs["artifacts"][name]["artifactType"]["schemaTitle"]
        artifact = {"name": name, "type": {"schemaTitle": title}, "uri": f"s3://artifacts/{task}/{name}"}
        return {"artifacts": [artifact]}


def _constant(source: dict[str, Any]) -> Any:
    value = source["runtimeValue"]["constant"]
    return JOB if value == "{{$.pipeline_job_uuid}}" else value
