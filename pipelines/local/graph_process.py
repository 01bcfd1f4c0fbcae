"""Run the graph of a local run with KFP: `python -m pipelines.local.graph_process PIPELINE RUN_FOLDER`."""

import contextlib
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from kfp import local
from kfp.dsl.base_component import BaseComponent

from pipelines.local import step_server
from pipelines.local.run import ARTIFACTS, PARAMS


def run_graph(pipeline: BaseComponent, run_folder: Path, arguments: dict[str, Any]) -> None:
    """Run the steps of a pipeline one after another, as processes on this machine.

    If the machine allows it, the steps of this project are forks of a step server.

    Raises:
        RuntimeError: A step failed. The error does not name the step or the cause; the event "failed" names both.
    """
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(run_folder / ARTIFACTS),
        enable_caching=False,
    )
    with contextlib.ExitStack() as stack:
        commands = _commands_of_our_steps(pipeline)
        if commands and step_server.can_serve():
            stack.enter_context(step_server.step_server(Path(tempfile.gettempdir())))
            for command in commands:
                command[list(command).index(step_server.STEP_PROCESS)] = step_server.STEP_CLIENT
        pipeline(**arguments)


def _commands_of_our_steps(pipeline: BaseComponent) -> list[Any]:
    """Return the command of each step whose function is in this project. The caller may change these commands."""
    executors = pipeline.pipeline_spec.deployment_spec["executors"].values()
    commands = [executor["container"]["command"] for executor in executors]
    return [command for command in commands if step_server.STEP_PROCESS in list(command)]


def main() -> None:
    """Run the pipeline named by the first argument, with the parameters in the run's folder."""
    from pipelines.config.run_config import RunConfig
    from pipelines.graphs.compile import build_pipeline

    pipeline_name = sys.argv[1]
    run_folder = Path(sys.argv[2])
    config = RunConfig.model_validate_json((run_folder / PARAMS).read_text(encoding="utf-8"))

    pipeline = build_pipeline(pipeline_name, config)
    arguments = {name: getattr(config, name) for name in pipeline.component_spec.inputs}
    run_graph(pipeline, run_folder, arguments)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        traceback.print_exc()
        # The user sees the last line of the log. A message can have several lines, so we join them.
        cause = str(error).strip().replace("\n", " ")
        print(f"{type(error).__name__}: {cause}", file=sys.stderr)
        sys.exit(1)
