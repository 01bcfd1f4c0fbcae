"""A pipeline compiled for a cluster: the version that it is, and what is known of it without asking KFP."""

import hashlib
import importlib
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.shared.errors import InputError
from pipelines.config.parameter_file import check_arguments
from pipelines.config.run_config import RunConfig

if TYPE_CHECKING:
    from kfp.dsl.base_component import BaseComponent

ROOT = Path(__file__).parents[2]
MODULES = {  # each with build_pipeline(config)
    "crack-training": "pipelines.graphs.training",
    "crack-drift-check": "pipelines.graphs.drift_check",
}
READERS: dict[str, Callable[[str], Any]] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": {"true": True, "false": False}.get,
}


@dataclass(frozen=True)
class CompiledPipeline:
    """One pipeline, compiled.

    Attributes:
        name: Its name in KFP.
        version: Git commit and digest of the document, which holds every parameter and image: it names one content.
        file: The document, YAML.
        description: A sentence for people.
        parameters: Run-time parameters: name to (KFP's type, default).
        tasks: Task as KFP's API names it, to task as people name it.
        config: What it was compiled from.
    """

    name: str
    version: str
    file: Path
    description: str
    parameters: dict[str, tuple[str, Any]]
    tasks: dict[str, str]
    config: RunConfig

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of every run-time parameter: those given, of the parameter's type, else the defaults.

        Raises:
            InputError: A parameter is given that the pipeline does not have, or a value of another type or range.
        """
        for name in given:
            if name not in self.parameters:
                raise InputError(
                    f'{self.name} has no run-time parameter "{name}"; it has {", ".join(sorted(self.parameters))}. '
                    "Everything else stands in the parameter file"
                )
        defaults = {name: _typed(name, kind, default) for name, (kind, default) in self.parameters.items()}
        typed = {name: _typed(name, self.parameters[name][0], value) for name, value in given.items()}
        check_arguments(self.config, typed)
        return defaults | typed


def build_pipeline(name: str, config: RunConfig) -> "BaseComponent":
    """Return a pipeline with everything but its run-time parameters fixed.

    Raises:
        InputError: There is no such pipeline.
    """
    if name not in MODULES:
        raise InputError(f'there is no pipeline "{name}"; there are {", ".join(MODULES)}')
    return importlib.import_module(MODULES[name]).build_pipeline(config)


def compile_pipeline(name: str, config: RunConfig, output: Path, **options: Any) -> None:
    """Write a pipeline as YAML, the same bytes for the same parameters; `options` go to KFP's compiler."""
    from kfp import compiler  # late: most commands that ask for names only never need it

    compiler.Compiler().compile(build_pipeline(name, config), str(output), **options)


def compile_version(name: str, config: RunConfig, revision: str, folder: Path) -> CompiledPipeline:
    """Compile a pipeline into a folder.

    Args:
        name: Pipeline, one of `MODULES`.
        config: Its parameters.
        revision: The code's version, the first part of the version's name.
        folder: Where the document is written.
    """
    file = folder / f"{name}.yaml"
    compile_pipeline(name, config, file)
    content = file.read_bytes()
    spec = next(yaml.safe_load_all(content))
    inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    graphs = [spec["root"], *spec["components"].values()]
    return CompiledPipeline(
        name=name,
        version=f"{revision}-{hashlib.sha256(content).hexdigest()[:12]}",
        file=file,
        description=spec["pipelineInfo"].get("description", ""),
        parameters={key: (value["parameterType"], value.get("defaultValue")) for key, value in inputs.items()},
        tasks={
            key: task["taskInfo"]["name"]
            for graph in graphs
            for key, task in graph.get("dag", {}).get("tasks", {}).items()
        },
        config=config,
    )


def git_revision(root: Path = ROOT) -> str:
    """Return the checkout's commit, its first 12 digits, with "-dirty" behind it where a file differs from it.

    The file of image digests does not count: the build writes it, and it is in the compiled document.

    Raises:
        InputError: This is no checkout, or git is not installed.
    """
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--", ".", ":!images/digests.json")
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            f"{root} is no git checkout, whose commit names the version; submit from a clone, or give --revision"
        ) from error
    return f"{commit}-dirty" if dirty else commit


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _typed(name: str, kind: str, value: Any) -> Any:
    try:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        typed = READERS[kind](text.removesuffix(".0") if kind == "NUMBER_INTEGER" else text)
    except ValueError:
        typed = None
    if typed is None:
        wanted = kind.lower().removeprefix("number_")
        raise InputError(f'run-time parameter "{name}" is of type {wanted}; got {value!r}')
    return typed
