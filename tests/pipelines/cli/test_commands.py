"""Wrong arguments, and the help of every command."""

import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from components.shared.services import mlflow_runs
from pipelines.cli.main import app
from pipelines.local.embedded_stack import tracking_uri
from tests.mlflow_store import new_mlflow_store

COMMANDS = sorted(get_command(app).commands)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "x" * 300, "--out", "a.csv"], f"the name {'x' * 60}… is too long for the file system"),
        (["status", "--workdir", "x" * 300], f"the name {'x' * 60}… is too long for the file system"),
        (["leaks", "--workdir", "nowhere"], "workdir nowhere has no runs; `make run` or"),
        (
            ["compile", "--output", "x.yaml"],
            "give one environment (convnext, dev, dinov2, efficientnet, kind, local, paper, paper_as_run, prod) or one "
            "file with --params",
        ),
        (
            ["compile", "nowhere", "--output", "x.yaml"],
            'unknown environment "nowhere"; pipelines/params has convnext',
        ),
        (["submit", "prod", "--parameter", "seed"], '--parameter is "seed"; write it as key=value, such as seed=2'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_unusable_argument_is_named_and_ends_with_2(arguments, message):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "images=b"], '--set "images=b": --images gives the images already; remove this setting'),
        (["--set", "retrain.start=true"], "this command only prints how to start a training"),
        (["--images", "nowhere"], "--images nowhere is not a folder; give a folder or s3://BUCKET/PREFIX"),
    ],
)
def test_a_drift_check_refuses_settings_that_it_cannot_use(options, message, tmp_path, monkeypatch):
    new_mlflow_store(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(tmp_path))
    mlflow_runs.client().create_registered_model("crack-classifier")  # a workdir without anything has no runs
    done = CliRunner().invoke(app, ["drift-check", "--workdir", str(tmp_path), "--images", str(tmp_path), *options])
    assert done.exit_code == 2, done.output
    assert message in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text(command):
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert done.stdout.strip()


def test_a_full_disk_behind_standard_output_is_one_sentence():
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "schema"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"
