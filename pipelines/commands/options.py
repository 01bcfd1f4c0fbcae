"""What the commands share: their common options, and how an error becomes a line and an exit status."""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from components.shared.runtime import InputError

Params = Annotated[Path, typer.Option(help="Parameter file, YAML.")]
Override = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a parameter; may be repeated.")
]
Workdir = Annotated[Path, typer.Option(help="Folder that keeps everything of the local runs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

LOCAL_PARAMS = Path(__file__).parents[1] / "params" / "local.yaml"


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
