"""The command line, `crack-pipeline`."""

import typer

from pipelines.commands import cluster, data, drift, local, submit

app = typer.Typer(
    help="Concrete-crack classification on Kubeflow Pipelines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for family in (local, data, drift, cluster, submit):
    app.add_typer(family.commands)


def main() -> None:
    """Run the command line."""
    app()
