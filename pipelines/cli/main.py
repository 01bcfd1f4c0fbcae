"""The command line, `crack-pipeline`."""

import typer

from pipelines.cli import cluster, data, doctor, drift, gc, local, predict, registry, runs, submit, weights

# In the order in which `--help` lists them.
PANELS = {
    "On this machine": (local, data, weights),
    "Models": (predict, drift, registry, gc),
    "On a cluster": (doctor, submit, runs, cluster),
}

app = typer.Typer(
    help="Concrete-crack classification on Kubeflow Pipelines.\n\n"
    "Exit status: 0 done; 1 something broke down; 2 an input was wrong; 130 interrupted. A command that means "
    "more by it says so in its own help.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for panel, families in PANELS.items():
    for family in families:
        for command in (*family.commands.registered_commands, *family.commands.registered_groups):
            command.rich_help_panel = panel
        app.add_typer(family.commands)


def main() -> None:
    """Run the command line."""
    app()
