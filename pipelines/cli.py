"""The command line, `crack-pipeline`. Heavy imports stand inside the commands: `--help` answers at once."""

import contextlib
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from components.shared.runtime import InputError

app = typer.Typer(
    help="Concrete-crack classification on Kubeflow Pipelines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Params = Annotated[Path, typer.Option(help="Parameter file, YAML.")]
Override = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a parameter; may be repeated.")
]
Workdir = Annotated[Path, typer.Option(help="Folder that keeps everything of the local runs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

LOCAL_PARAMS = Path(__file__).parent / "params" / "local.yaml"


@app.command()
def run_local(
    params: Params = LOCAL_PARAMS,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled tiles: folder, archive, table, s3://, https://, synthetic://; several with commas."
        ),
    ] = None,
    workdir: Workdir = Path("workdir"),
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Run the whole pipeline on this machine, with its own S3 server and MLflow store.

    Exit status: 0 the run ended, with a registered model or a refusal by the gates; 1 something broke down; 2 an
    input was wrong; 130 interrupted.
    """
    with reporting_errors(debug):
        from pipelines.local import TRAINING_GRAPH, local_data_uri, run_locally
        from pipelines.results import show_results
        from pipelines.run_config import check_networks, load_run_config

        # retries are for a cluster's evictions; here they would only repeat the user's error, minutes later
        fixed = [f"cache={json.dumps(str(workdir.resolve() / 'cache'))}", "cluster.retries=0"]
        chosen = [f"data_uri={json.dumps(data)}"] if data is not None else []
        config = load_run_config(params, [*(override or []), *chosen, *fixed])
        config = config.model_copy(update={"data_uri": local_data_uri(config.data_uri)})
        check_networks(config)
        console = Console()
        run = run_locally(workdir, config.experiment, config.model_dump_json(), TRAINING_GRAPH, console)
        show_results(run.summary, workdir, console)


@app.command("compile")
def compile_training(
    output: Annotated[Path, typer.Option(help="YAML file to write.")],
    params: Params = LOCAL_PARAMS,
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Compile the training pipeline for a cluster."""
    with reporting_errors(debug):
        from pipelines.run_config import load_run_config

        config = load_run_config(params, override or [])
        from pipelines.training import compile_pipeline

        output.parent.mkdir(parents=True, exist_ok=True)
        compile_pipeline(config, output)


@app.command()
def schema() -> None:
    """Print the JSON schema of the parameter file."""
    from pipelines.run_config import RunConfig

    print(json.dumps(RunConfig.model_json_schema(), indent=2))


@app.command()
def mlflow_ui(
    workdir: Workdir = Path("workdir"),
    port: Annotated[int, typer.Option(help="Port on the loopback interface.", min=1, max=65535)] = 5000,
    debug: Debug = False,
) -> None:
    """Browse the local runs and models in MLflow, until Ctrl-C."""
    with reporting_errors(debug):
        from pipelines.local import serve_mlflow_ui

        serve_mlflow_ui(workdir, port, Console())


@contextlib.contextmanager
def reporting_errors(debug: bool) -> Iterator[None]:
    """Turn an error into one line on standard error and the process's exit status."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted", 130, debug=False)
    except InputError as error:
        _fail(f"error: {error}", 2, debug)
    except Exception as error:
        _fail(f"error: {error or type(error).__name__}", 1, debug)


def _fail(message: str, status: int, debug: bool) -> NoReturn:
    with contextlib.suppress(OSError):  # the terminal may be gone
        if debug:
            traceback.print_exc()
        print(message, file=sys.stderr)
    sys.exit(status)


def main() -> None:
    """Run the command line."""
    app()
