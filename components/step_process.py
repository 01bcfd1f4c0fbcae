"""Run the function of a step's component: `python3 -m components.step_process FOLDER EXECUTOR ARGUMENT…`.

KFP's own command contains the source of the function. KFP's backend copies this command and all other settings of the
pod about six times into the status of a run. The status must stay below 1 MiB. The function is installed in the
container image anyway, so our command contains only the name of the function.
"""

import json
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["_KFP_RUNTIME"] = "true"  # set before the import, so KFP skips its compiler and loads ten times faster

import yaml
from kfp import dsl

from components.shared import mounted_secrets


def main() -> None:
    """Run KFP's executor on `components/FOLDER/component.py`.

    The executor's module is an argument, because KFP's local runner accepts only commands that contain the name of this
    module.
    """
    folder, executor = sys.argv[1:3]
    sys.argv[1:3] = ["--component_module_path", str(Path(__file__).parent / folder / "component.py")]
    message = sys.argv.index("--executor_input") + 1
    sys.argv[message] = _prepare(sys.argv[message])

    mounted_secrets.set_variables()
    dsl.component = _leave_as_it_is
    runpy.run_module(executor, run_name="__main__")


def _prepare(message: str) -> str:
    """Return the message that KFP sends to the executor, with two changes.

    The configuration becomes JSON, and the description of each output's storage becomes "".

    KFP copies the configuration six times into the run's status. For each input artifact, KFP also copies 500 bytes
    that describe the storage of the artifact. To keep the status small, the configuration arrives here as YAML (see
    `pipelines/graphs/compact.py`), and we set the description of the storage to "". KFP then does not write a
    description of its own. KFP's launcher does not need the description. KFP's UI does not need it either, because the
    UI has its own credentials for the storage.
    """
    values = json.loads(message)
    parameters = values["inputs"].get("parameterValues", {})
    if "config" in parameters:
        parameters["config"] = json.dumps(yaml.safe_load(parameters["config"]))
    for artifacts in values["outputs"].get("artifacts", {}).values():
        for artifact in artifacts["artifacts"]:
            artifact.setdefault("metadata", {})["store_session_info"] = ""
    return json.dumps(values)


def _leave_as_it_is(**options: Any) -> Callable[[Callable], Callable]:
    """Replace KFP's decorator `dsl.component`, which builds a component. Our decorator does not change the function."""
    return lambda function: function


if __name__ == "__main__":
    main()
