"""The command line, `crack-pipeline`."""

import errno
import io
import os
import sys

import typer

from pipelines.cli import (
    cluster,
    data,
    doctor,
    drift,
    gc,
    inspect,
    leaks,
    local,
    predict,
    registry,
    review,
    rollout,
    runs,
    serve,
    sites,
    submit,
    transfer,
    weights,
)
from pipelines.cli.empty_values import Command

# The panels of `--help` in their order. Each panel has the commands of these modules.
PANELS = {
    "On this machine": (local, transfer, data, review, leaks, weights),
    "Models": (predict, inspect, serve, drift, sites, registry, gc),
    "On a cluster": (doctor, submit, runs, rollout, cluster),
}

app = typer.Typer(
    help="Concrete-crack classification on Kubeflow Pipelines.\n\n"
    "Exit status: 0 = done; 1 = something failed; 2 = an input was wrong; 130 = interrupted. The help of a command "
    "lists its other exit statuses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for panel, families in PANELS.items():
    for family in families:
        commands, groups = family.commands.registered_commands, family.commands.registered_groups
        for entry in (*commands, *groups):
            entry.rich_help_panel = panel
        for typer_instance in (family.commands, *(group.typer_instance for group in groups)):
            for command in typer_instance.registered_commands:
                command.cls = Command
        app.add_typer(family.commands)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show ✓ or … gets an escape sequence instead of an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _run_and_write()
    except OSError as error:
        # Python tries to write the rest again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def _run_and_write() -> None:
    """Run the command line, and write everything that it printed. Raise `OSError` if it cannot be written."""
    try:
        app()
    finally:
        if sys.stdout:  # it is None if the caller closed it
            sys.stdout.flush()
