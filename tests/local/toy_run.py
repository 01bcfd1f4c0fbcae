"""Start a local run of the toy graph as a user's command does: `toy_run.py WORKDIR BEHAVIOUR`."""

import json
import signal
import sys
from pathlib import Path

from rich.console import Console

from pipelines.cli.options import reporting_errors
from pipelines.local import embedded_stack
from pipelines.local.run import run_locally

GRAPH = [sys.executable, str(Path(__file__).with_name("toy_graph.py"))]


def main() -> None:
    workdir, behaviour = Path(sys.argv[1]), sys.argv[2]
    # pytest may run in the background or under nohup. Its children then ignore these two signals.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # The toy's steps do not use MLflow, which takes seconds to load.
    embedded_stack.prepare_mlflow = lambda *_: None
    with reporting_errors(debug=False), embedded_stack.locked(workdir):
        run_locally(workdir, "toy", json.dumps({"behaviour": behaviour}), GRAPH, Console())


if __name__ == "__main__":
    main()
