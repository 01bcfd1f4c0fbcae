"""What the commands share: their options, the choice of the parameter file, and the exit status for each error."""

import contextlib
import errno
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from components.shared.errors import InputError

if TYPE_CHECKING:
    from pipelines.config.parameter_file import Setting

PARAMS = Path(__file__).parents[1] / "params"
LOCAL_PARAMS = PARAMS / "local.yaml"
MODEL = "crack-classifier"
CHAMPION_URI = f"models:/{MODEL}@champion"
LONGEST_QUOTE = 60  # characters of a name that a message shows
MOST_SECONDS = 366 * 86_400
# Limits of whole numbers. Larger numbers are mistakes, and libraries cannot use them.
MOST_FILES = 1_000_000
HIGHEST_VERSION = 2**31 - 1


def known_pipeline(name: str | None) -> str | None:
    """Return the name of a pipeline. End the process with a message and exit status 2 if there is no such pipeline."""
    with reporting_errors(debug=False):
        from pipelines.graphs.compile import require_known

        if name is not None:
            require_known(name)
    return name


def possible_name(name: str) -> str:
    """Return the name of a registered model. End the process with exit status 2 if no model can have this name."""
    with reporting_errors(debug=False):
        if "/" in name or ":" in name:
            raise InputError(f"--name is {name}; the name of a registered model has no / and no :, such as {MODEL}")
    return name


def possible_model(uri: str) -> str:
    """Return the URI of a model. End the process with exit status 2 if its version number is too large."""
    with reporting_errors(debug=False):
        version = re.fullmatch("models:/[^/@]+/([0-9]+)", uri)
        if version and int(version[1]) > HIGHEST_VERSION:
            raise InputError(f"--model is {uri}; give a version from 1 to {HIGHEST_VERSION}")
    return uri


Params = Annotated[Path, typer.Option(help="Parameter file, YAML.", show_default="pipelines/params/local.yaml")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a parameter; the option can be repeated."),
]
Workdir = Annotated[Path, typer.Option(help="Folder that keeps the files of all local runs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

# Options of the commands that use a cluster or write a file for one.
Environment = Annotated[
    str | None,
    typer.Argument(metavar="ENV", help="Name of a parameter file: pipelines/params/ENV.yaml.", show_default=False),
]
File = Annotated[Path | None, typer.Option("--params", help="Parameter file (YAML), instead of ENV.")]
Pipeline = Annotated[
    str, typer.Option(help="crack-training, crack-drift-check or crack-inspection.", callback=known_pipeline)
]
Revision = Annotated[
    str, typer.Option(help="Name of the version of the code. Default: that of the container image, or the git commit.")
]
AllowTags = Annotated[
    bool, typer.Option("--allow-tags", help="Accept container images without digests, for development.")
]

# Options of the commands that use a model registry.
RegistryWorkdir = Annotated[
    Path | None,
    typer.Option("--workdir", help="Workdir of local runs. Default: use the registry of MLFLOW_TRACKING_URI."),
]
Name = Annotated[str, typer.Option("--name", help="Name of the registered model.", callback=possible_name)]
ModelUri = Annotated[str, typer.Option("--model", help="URI of the model in MLflow.", callback=possible_model)]
RequireSignature = Annotated[
    Path | None,
    typer.Option(
        envvar="CRACK_REQUIRE_SIGNATURE",
        help="PEM file of the public key that must verify the signature of the model version.",
    ),
]


def chosen_file(environment: str | None, params: Path | None) -> Path:
    """Return the parameter file that the command's arguments name.

    Raises:
        InputError: The arguments name no file or two files, or pipelines/params has no file for the environment.
    """
    known = sorted(file.stem for file in PARAMS.glob("*.yaml"))
    if (environment is None) == (params is None):
        raise InputError(f"give one environment ({', '.join(known)}) or one file with --params, not both")
    if params:
        return params
    if environment not in known:
        raise InputError(f'unknown environment "{environment}"; pipelines/params has {", ".join(known)}')
    return PARAMS / f"{environment}.yaml"


def code_revision(given: str) -> str:
    """Return the version of the code: the given version, the version of this container image, or the git commit.

    Raises:
        InputError: No version is given, this is not a container image, and there is no git commit.
    """
    from components.shared.revision import built_revision
    from pipelines.graphs.compile import ROOT, git_revision

    return given or built_revision(ROOT) or git_revision()


def local_settings(workdir: Path) -> list["Setting"]:
    """Return the parameters that are fixed in every local run. They override the parameter file."""
    from pipelines.config.parameter_file import Setting  # imported late, because most commands do not need parameters

    cache = str(workdir.resolve() / "cache")
    return [
        Setting(("cache",), cache, "", "a local run keeps its cache in the workdir; choose the workdir with --workdir"),
        # Retries help if a cluster evicts a pod. In a local run, they would only repeat the user's error minutes later.
        Setting(("cluster", "retries"), 0, "", "a local run does not repeat steps; remove this setting"),
    ]


@contextlib.contextmanager
def locked_workdir(workdir: Path, has_runs: bool = False) -> Iterator[None]:
    """Lock the workdir before the command imports large packages, so that a wrong workdir is reported at once.

    Args:
        workdir: The folder. It is created if it does not exist.
        has_runs: True: the workdir must have runs already.

    Raises:
        InputError: The workdir has no runs, cannot be used, or is in use.
    """
    from pipelines.local.embedded_stack import locked, require_runs

    if has_runs:
        require_runs(workdir)
    with locked(workdir):
        yield


def require_number(option: str, value: float | None, lowest: float, highest: float) -> None:
    """Raise InputError with the value and the range if an option is outside its range, or not a number."""
    if value is not None and not lowest <= value <= highest:
        raise InputError(f"{option} is {value:.12g}; give a number from {lowest:g} to {highest:.12g}")


@contextlib.contextmanager
def reporting_errors(debug: bool, crash: int = 1) -> Iterator[None]:
    """Print an error as one line on standard error, and end the process with an exit status.

    Args:
        debug: If true, the traceback is shown too.
        crash: Exit status of an error that is not an `InputError`.
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted", 130, debug=False)
    except InputError as error:
        _fail(f"error: {error}", 2, debug)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _fail(f"error: the name {str(error.filename)[:LONGEST_QUOTE]}… is too long for the file system", 2, debug)
        if error.errno == errno.EACCES and error.filename is not None:
            message = f"error: {error.filename} cannot be used: {error.strerror}; change its permissions"
            _fail(message, 2, debug)
        _fail(f"error: {error}", crash, debug)
    except Exception as error:
        _fail(f"error: {error or type(error).__name__}", crash, debug)


def _fail(message: str, status: int, debug: bool) -> NoReturn:
    with contextlib.suppress(OSError):  # the terminal may be closed
        if debug:
            traceback.print_exc()
        print(message, file=sys.stderr)
    sys.exit(status)
