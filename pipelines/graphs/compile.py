"""Compile a pipeline for a cluster, name its version, and check its run-time parameters without KFP."""

import hashlib
import importlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.shared.atomic_file import atomic_file
from components.shared.errors import InputError
from components.shared.revision import commit, git
from pipelines.config.parameter_file import check_arguments
from pipelines.config.run_config import RunConfig

if TYPE_CHECKING:
    from kfp.dsl.base_component import BaseComponent

ROOT = Path(__file__).parents[2]
# Every module has a function `build_pipeline(config)`.
MODULES = {
    "crack-training": "pipelines.graphs.training",
    "crack-drift-check": "pipelines.graphs.drift_check",
    "crack-inspection": "pipelines.graphs.inspection",
}
# Name of a type in KFP -> function that reads a value of this type from text. If the text is not such a value, the
# function raises ValueError or returns None.
READERS: dict[str, Callable[[str], Any]] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": {"true": True, "false": False}.get,
}


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled pipeline.

    Attributes:
        name: Name of the pipeline in KFP.
        version: Name of the version: Git commit, and digest of `file`. The file contains all parameters and the names
            of the container images, so the content of a version never changes.
        file: The compiled pipeline, YAML.
        description: A sentence for people.
        parameters: Run-time parameters: name -> (type in KFP, default).
        tasks: Names of the tasks: name in KFP's API -> display name.
        config: The parameters that the pipeline was compiled with.
    """

    name: str
    version: str
    file: Path
    description: str
    parameters: dict[str, tuple[str, Any]]
    tasks: dict[str, str]
    config: RunConfig

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of all run-time parameters, each with its type. Parameters that are not given get defaults.

        Raises:
            InputError: A parameter in `given` is unknown, has a wrong type, or is out of range.
        """
        known = ", ".join(sorted(self.parameters))
        for name in given:
            if name not in self.parameters:
                raise InputError(
                    f'{self.name} has no run-time parameter "{name}"; it has {known}. Set everything else in the '
                    "parameter file"
                )

        values = {}
        for name, (kind, default) in self.parameters.items():
            values[name] = _typed(name, kind, given.get(name, default))
        check_arguments(self.config, {name: values[name] for name in given})
        return values


def require_known(name: str) -> None:
    """Raise InputError if there is no pipeline with this name."""
    if name not in MODULES:
        raise InputError(f'there is no pipeline "{name}"; choose one of {", ".join(MODULES)}')


def build_pipeline(name: str, config: RunConfig) -> "BaseComponent":
    """Return a pipeline. Everything in it is fixed except its run-time parameters.

    Raises:
        InputError: There is no pipeline with this name.
    """
    require_known(name)

    # We import KFP here, because the import takes seconds, and some commands need only the names in MODULES.
    from kfp.dsl.python_component import PythonComponent

    from pipelines.graphs.compact import name_functions

    module = importlib.import_module(MODULES[name])
    folders = {}
    for value in vars(module).values():
        if isinstance(value, PythonComponent):
            _, folder, _ = value.python_func.__module__.split(".")
            folders[value.python_func.__name__] = folder

    pipeline = module.build_pipeline(config)
    name_functions(pipeline.pipeline_spec, folders)
    return pipeline


def compile_pipeline(name: str, config: RunConfig, output: Path, **options: Any) -> None:
    """Write a pipeline as YAML. The same parameters give the same bytes. `options` are passed to KFP's compiler.

    Raises:
        InputError: There is no pipeline with this name, or the file cannot be written.
    """
    from kfp import compiler

    from pipelines.graphs.compact import keep_only_what_runs

    pipeline = build_pipeline(name, config)
    keep_only_what_runs(pipeline.pipeline_spec)
    with tempfile.TemporaryDirectory() as folder, atomic_file(output) as unfinished:
        compiled = Path(folder) / "pipeline.yaml"  # KFP's compiler requires the suffix
        compiler.Compiler().compile(pipeline, str(compiled), **options)
        shutil.copyfile(compiled, unfinished)


def compile_version(name: str, config: RunConfig, revision: str, folder: Path) -> CompiledPipeline:
    """Compile a pipeline, and write the compiled pipeline to a YAML file.

    Args:
        name: Name of the pipeline, a key of `MODULES`.
        config: The parameters of the pipeline.
        revision: The version of the code. It is the first part of the name of the pipeline's version.
        folder: Folder for the YAML file.
    """
    file = folder / f"{name}.yaml"
    compile_pipeline(name, config, file)
    content = file.read_bytes()
    spec = next(yaml.load_all(content, yaml.CSafeLoader))  # ten times as fast as the loader in Python

    parameters = {}
    for key, value in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items():
        parameters[key] = (value["parameterType"], value.get("defaultValue"))

    tasks = {}
    for graph in [spec["root"], *spec["components"].values()]:
        for key, task in graph.get("dag", {}).get("tasks", {}).items():
            tasks[key] = task["taskInfo"]["name"]

    return CompiledPipeline(
        name=name,
        version=f"{revision}-{hashlib.sha256(content).hexdigest()[:12]}",
        file=file,
        description=spec["pipelineInfo"].get("description", ""),
        parameters=parameters,
        tasks=tasks,
        config=config,
    )


def git_revision(root: Path = ROOT) -> str:
    """Return the first 12 digits of the checkout's commit. If a file differs from the commit, "-dirty" follows.

    Changes in the file images/digests.json do not count, because the build writes this file. The digests in the file
    are part of the compiled document.

    Raises:
        InputError: The folder is not a git checkout, or git is not installed.
    """
    try:
        digits = commit(root)[:12]
        dirty = git(root, "status", "--porcelain", "--", ".", ":!images/digests.json")
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            f"{root} is not a git checkout, so the commit that names the version is unknown; use a clone, or give "
            "--revision"
        ) from error

    return f"{digits}-dirty" if dirty else digits


def _typed(name: str, kind: str, value: Any) -> Any:
    """Convert a value to its type in KFP.

    The value is text, or a default from KFP's YAML. KFP's YAML writes the integer 1 as 1.0.
    """
    text = str(value)
    if isinstance(value, bool):
        text = text.lower()
    elif kind == "NUMBER_INTEGER":
        text = text.removesuffix(".0")

    try:
        typed = READERS[kind](text)
    except ValueError:
        typed = None
    if typed is None:
        wanted = kind.lower().removeprefix("number_")
        raise InputError(f'run-time parameter "{name}" must have type {wanted}; got {text}')
    return typed
