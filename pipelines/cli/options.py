"""What the commands share: their options, which parameter file is meant, and how an error becomes an exit status."""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from components.shared.errors import InputError

PARAMS = Path(__file__).parents[1] / "params"
LOCAL_PARAMS = PARAMS / "local.yaml"
MODEL = "crack-classifier"

Params = Annotated[Path, typer.Option(help="Parameter file, YAML.", show_default="pipelines/params/local.yaml")]
Override = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a parameter; may be repeated.")
]
Workdir = Annotated[Path, typer.Option(help="Folder that keeps everything of the local runs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

# of the commands that look at a cluster, or write something for one
Environment = Annotated[
    str | None, typer.Argument(metavar="ENV", help="Parameters by name: pipelines/params/ENV.yaml.", show_default=False)
]
File = Annotated[Path | None, typer.Option("--params", help="Parameter file, YAML, instead of ENV.")]
Pipeline = Annotated[str, typer.Option(help="crack-training or crack-drift-check.")]
Revision = Annotated[str, typer.Option(help="What the version is named by, instead of the git commit.")]
AllowTags = Annotated[bool, typer.Option("--allow-tags", help="Take images by tag or placeholder, for development.")]

# of the commands that reach a model registry
Reached = Annotated[
    Path | None, typer.Option("--workdir", help="Workdir of local runs; without it, MLFLOW_TRACKING_URI's registry.")
]
Name = Annotated[str, typer.Option("--name", help="The registered model.")]


def chosen_file(environment: str | None, params: Path | None) -> Path:
    """Return the parameter file that is meant.

    Raises:
        InputError: None or two are named, or there is no such environment.
    """
    known = sorted(file.stem for file in PARAMS.glob("*.yaml"))
    if (environment is None) == (params is None):
        raise InputError(f"name one environment ({', '.join(known)}), or one file with --params")
    if params:
        return params
    if environment not in known:
        raise InputError(f'unknown environment "{environment}"; pipelines/params holds {", ".join(known)}')
    return PARAMS / f"{environment}.yaml"


@contextlib.contextmanager
def reporting_errors(debug: bool, crash: int = 1) -> Iterator[None]:
    """Turn an error into one line on standard error and the process's exit status.

    Args:
        debug: Show the traceback too.
        crash: Exit status of an error that is not the user's to mend.
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted", 130, debug=False)
    except InputError as error:
        _fail(f"error: {error}", 2, debug)
    except Exception as error:
        _fail(f"error: {error or type(error).__name__}", crash, debug)


def _fail(message: str, status: int, debug: bool) -> NoReturn:
    with contextlib.suppress(OSError):  # the terminal may be gone
        if debug:
            traceback.print_exc()
        print(message, file=sys.stderr)
    sys.exit(status)
