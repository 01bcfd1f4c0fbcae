"""The command line, `crack-pipeline`."""

import typer

from pipelines.commands import (
    cluster,
    data,
    doctor,
    drift,
    gc,
    local,
    predict,
    registry,
    submit,
    weights,
)

# In the order in which `--help` lists them.
FAMILIES = (
    local,
    data,
    weights,
    predict,
    drift,
    registry,
    gc,
    cluster,
    submit,
    doctor,
)

app = typer.Typer(
    help="Concrete-crack classification on Kubeflow Pipelines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for family in FAMILIES:
    app.add_typer(family.commands)


def main() -> None:
    """Run the command line."""
    app()
