"""A graph shaped like the training pipeline. Its step can succeed, refuse, be silent, hang, crash or be killed.

`toy_run.py` starts it: `toy_graph.py RUN_FOLDER`.
"""

import json
import sys
from pathlib import Path

from kfp import dsl

from pipelines.local.graph_process import run_graph
from pipelines.local.run import PARAMS


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def train(behaviour: str, job: str, choice: dsl.Output[dsl.Artifact]) -> str:
    import os
    import signal
    import subprocess
    import sys
    import time
    from pathlib import Path

    from components.shared import events
    from components.shared.errors import InputError
    from components.shared.events import progress
    from components.shared.services.store import Store
    from components.shared.step import step

    if behaviour == "crash early":
        raise NameError("no such name")
    if behaviour == "killed early":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "silent":
        events.SECONDS_BETWEEN_SIGNS_OF_LIFE = 0.1
    with step("train toy", job, "s3://crack/store"):
        progress(1, 2, "half")
        if behaviour == "silent":
            time.sleep(0.5)
        if behaviour == "disk full":
            print("OSError: [Errno 28] No space left on device", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        Store("s3://crack/store").put_bytes("seen", b"by the step")
        if behaviour == "input":
            raise InputError("rate must be positive, got -1; set train.rate")
        if behaviour == "crash":
            raise ZeroDivisionError("division by zero")
        if behaviour == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour == "hang":
            deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
            stubborn = subprocess.Popen([sys.executable, "-c", f"{deaf}; time.sleep(600)"], stdout=subprocess.PIPE)
            assert stubborn.stdout
            stubborn.stdout.readline()
            progress(2, 2, "hanging")
            time.sleep(600)
        Path(choice.path).write_text(behaviour)
    return "toy" if behaviour == "succeed" else ""


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def register(choice: dsl.Input[dsl.Artifact]) -> str:
    return '{"version": "1"}'


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def refuse(choice: dsl.Input[dsl.Artifact]) -> str:
    return '{"version": null}'


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def report(registration: str, page: dsl.Output[dsl.HTML], summary: dsl.Output[dsl.Artifact]):
    import os
    from pathlib import Path

    Path(page.path).write_text(f"<html>{registration}</html>")
    Path(summary.path).write_text(
        f'{{"registration": {registration}, "tracking": "{os.environ["MLFLOW_TRACKING_URI"]}"}}'
    )


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def notify(status: dsl.PipelineTaskFinalStatus, job: str):
    print("notified of", status.state)


@dsl.pipeline(name="toy")
def toy(behaviour: str):
    job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    with dsl.ExitHandler(notify(job=job)):
        trained = train(behaviour=behaviour, job=job)
        with dsl.If(trained.outputs["Output"] == "toy"):
            registered = register(choice=trained.outputs["choice"])
        with dsl.Else():
            refused = refuse(choice=trained.outputs["choice"])
        report(registration=dsl.OneOf(registered.outputs["Output"], refused.outputs["Output"]))


def main() -> None:
    folder = Path(sys.argv[1])
    if "broken" in (folder / PARAMS).read_text():
        sys.exit("the graph itself is broken")
    run_graph(toy, folder, json.loads((folder / PARAMS).read_text()))


if __name__ == "__main__":
    main()
