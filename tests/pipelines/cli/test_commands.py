"""Wrong arguments, and the help of every command."""

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipelines.cli.main import app

COMMANDS = sorted(get_command(app).commands)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gc", "--days", "inf"], "--days is inf; give a number of days"),
        (["predict", "x" * 300, "--out", "a.csv"], f"the name {'x' * 60}… is too long for the file system"),
        (["status", "--workdir", "x" * 300], f"the name {'x' * 60}… is too long for the file system"),
        (["leaks", "--workdir", "nowhere"], "workdir nowhere has no runs; `make run` or"),
        (["gc", "--days", "-1"], "greater than or equal to 0"),
        (
            ["compile", "--output", "x.yaml"],
            "give one environment (dev, kind, local, paper, paper_as_run, prod) or one file with --params",
        ),
        (["compile", "nowhere", "--output", "x.yaml"], 'unknown environment "nowhere"; pipelines/params has dev'),
        (["submit", "prod", "--parameter", "seed"], '--parameter is "seed"; write it as key=value, such as seed=2'),
        (
            ["drift-check", "--images", "a", "--set", "images=b"],
            '--set "images=b": --images gives the images already; remove this setting',
        ),
        (
            ["drift-check", "--images", "a", "--set", "retrain.start=true"],
            "this command only prints how to start a training",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_unusable_argument_is_named_and_ends_with_2(arguments, message):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text(command):
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert done.stdout.strip()
