"""`crack-pipeline submit` as CI calls it, with the test server: what it creates, what it prints, how it exits."""

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.shared.errors import InputError
from pipelines.cli.main import app
from pipelines.cluster.follow import Follower, Outcome
from pipelines.cluster.submit import submit
from pipelines.graphs.compile import compile_version, git_revision

DONE = {"ingest": "SUCCEEDED", "train": "SUCCEEDED", "executor": "SUCCEEDED", "train-driver": "SUCCEEDED"}
REGISTERED = {**DONE, "register-2": "SUCCEEDED", "condition-5": "SKIPPED"}
REFUSED = {**DONE, "refuse": "SUCCEEDED", "condition-3": "SKIPPED", "condition-4": "SKIPPED"}


@pytest.fixture
def cli(kfp, small, tmp_path, monkeypatch):
    """The command with a small parameter file, container images by digest and an invented commit."""
    digests = tmp_path / "digests.json"
    digests.write_text(json.dumps({name: f"registry.example/{name}@sha256:{'0' * 64}" for name in ("cpu", "gpu")}))
    monkeypatch.setenv("IMAGE_DIGESTS", str(digests))
    fixed = ["submit", "--params", str(small), "--interval", "0.01", "--revision", "0123456789ab"]
    return lambda *options: CliRunner().invoke(app, [*fixed, *options])


def test_the_command_creates_a_run_of_a_version_in_its_experiment(kfp, cli):
    kfp.play(("PENDING", {}), ("RUNNING", DONE), ("SUCCEEDED", REFUSED))
    done = cli("-p", "seed=7", "-p", "run_note=from CI", "--name", "nightly", "--wait")
    assert done.exit_code == 1, done.output
    (run,), (version,), (pipeline,) = kfp.runs, kfp.versions, kfp.pipelines
    assert run["experiment_id"] == kfp.experiments[0]["experiment_id"]
    assert kfp.experiments[0]["display_name"] == "crack-training"
    assert run["runtime_config"]["parameters"] == {
        "data_uri": "synthetic://?images=600&seed=1", "seed": 7, "run_note": "from CI",
    }  # fmt: skip
    assert run["service_account"] == "crack-pipeline"
    assert run["display_name"].startswith("nightly 20")
    assert pipeline["display_name"] == "crack-training"
    assert version["display_name"].startswith("0123456789ab-")
    assert f"{kfp.url}/#/runs/details/{run['run_id']}" in done.output
    assert "refused: no candidate passed the gates" in done.output
    assert kfp.token not in done.output


def test_an_unchanged_version_is_used_again_and_a_changed_one_is_new(kfp, client, compiled, config, console, tmp_path):
    submit(client, compiled, config, {}, console)
    submit(client, compiled, config, {"seed": 2}, console)
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.runs)) == (1, 1, 2)
    changed = config.model_copy(update={"experiment": "other"})
    submit(client, compile_version("crack-training", changed, "0123456789ab", tmp_path), changed, {}, console)
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments)) == (1, 2, 2)
    assert len({version["display_name"].split("-")[1] for version in kfp.versions}) == 2


def test_the_same_twice_within_an_hour_needs_again(kfp, client, compiled, config, console):
    submit(client, compiled, config, {}, console)
    with pytest.raises(InputError, match=r"submitted 0 minutes ago.*pending.*runs/details/.*--again"):
        submit(client, compiled, config, {}, console)
    submit(client, compiled, config, {}, console, again=True)
    assert len(kfp.runs) == 2
    for run in kfp.runs:
        run["created_at"] = "2026-01-01T00:00:00Z"
    submit(client, compiled, config, {}, console)
    assert len(kfp.runs) == 3
    del kfp.runs[2]["runtime_config"]  # as in a run that somebody started on KFP's page
    submit(client, compiled, config, {}, console)
    assert len(kfp.runs) == 4


@pytest.fixture
def follow(kfp, client, compiled, config, console):
    """Submit and wait while the run goes through scenes; return the outcome and the output."""

    def run(*scenes, timeout=20.0, allow_refusal=False):
        kfp.play(*scenes)
        run_id = submit(client, compiled, config, {}, console)
        outcome = Follower(client, compiled, run_id, console, 0.01).wait(timeout, allow_refusal)
        return outcome, console.file.getvalue()

    return run


@pytest.mark.parametrize(
    ("scenes", "options", "outcome", "said"),
    [
        ([("PENDING", {}), ("RUNNING", DONE), ("SUCCEEDED", REGISTERED)], {}, Outcome.SUCCEEDED, "succeeded: http"),
        ([("RUNNING", DONE), ("SUCCEEDED", REFUSED)], {}, Outcome.FAILED, "refused: no candidate passed the gates"),
        ([("SUCCEEDED", REFUSED)], {"allow_refusal": True}, Outcome.SUCCEEDED, "refused"),
        ([("RUNNING", {}), ("FAILED", {**DONE, "train": "FAILED"})], {}, Outcome.FAILED, "train cnn failed"),
        ([("CANCELED", DONE)], {}, Outcome.FAILED, "canceled"),
        ([("SUCCEEDED", {})], {}, Outcome.FAILED, "neither register nor refuse"),
        ([("RUNNING", DONE)], {"timeout": 0.2}, Outcome.UNSEEN, "no end within 0.2 s; the run goes on"),
    ],
)
def test_waiting_ends_with_the_status_that_ci_needs(follow, scenes, options, outcome, said):
    seen, output = follow(*scenes, **options)
    assert seen == outcome
    assert said in output


def test_waiting_shows_each_step_once_under_its_own_name(follow):
    scenes = ("RUNNING", {"train": "RUNNING"}), ("RUNNING", {"train": "RUNNING"}), ("SUCCEEDED", REGISTERED)
    _, output = follow(*scenes)
    assert [line[9:] for line in output.splitlines() if "train cnn" in line] == [
        "train cnn: running",
        "train cnn: succeeded",
    ]


def test_waiting_says_from_time_to_time_that_it_still_waits(follow, monkeypatch):
    monkeypatch.setattr("pipelines.cluster.follow.QUIET", 0.0)
    scene = ("RUNNING", {"train": "RUNNING"})
    _, output = follow(scene, scene, ("SUCCEEDED", REGISTERED))
    assert "still running: train cnn" in output


def test_waiting_outlives_a_busy_server(kfp, follow):
    kfp.fail("GET .*/runs/", "status", status=503, times=8)  # more often than one request is repeated
    outcome, output = follow(("RUNNING", {}), ("SUCCEEDED", REGISTERED))
    assert (outcome, len(kfp.runs)) == (Outcome.SUCCEEDED, 1)
    assert "still waiting" in output


def test_a_token_that_expires_while_waiting_leaves_the_end_unseen(kfp, follow):
    kfp.fail("GET .*/runs/", "status", status=401)
    outcome, output = follow(("RUNNING", {}))
    assert outcome == Outcome.UNSEEN
    assert "The run goes on, unseen" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["production"], 'unknown environment "production"; pipelines/params holds dev, local, paper, prod'),
        ([], "name one environment (dev, local, paper, prod), or one file with --params"),
        (["dev", "--params", "x.yaml"], "name one environment"),
        (["--params", "nowhere.yaml"], "does not exist"),
        (["dev", "--set", "candidates.resnet50.train.stepz=1"], 'did you mean "steps"'),
        (["dev", "-p", "seed"], "expected key=value"),
        (["dev", "--pipeline", "crack", "--revision", "0"], 'there is no pipeline "crack"; there are crack-training'),
    ],
)
def test_a_wrong_argument_is_reported_before_anything_is_created(kfp, arguments, message):
    done = CliRunner().invoke(app, ["submit", "--allow-tags", *arguments])
    assert (done.exit_code, kfp.requests) == (2, [])
    assert message in done.output


def test_an_unknown_run_time_parameter_is_reported(compiled):
    with pytest.raises(InputError, match='no run-time parameter "sead"; it has data_uri, run_note, seed'):
        compiled.arguments({"sead": "2"})
    with pytest.raises(InputError, match="\"seed\" is of type integer; got 'two'"):
        compiled.arguments({"seed": "two"})
    with pytest.raises(InputError, match="run-time parameters: seed: Input should be greater than or equal to 0"):
        compiled.arguments({"seed": "-1"})
    with pytest.raises(InputError, match="run-time parameters: data_uri: data is 'ftp://host'"):
        compiled.arguments({"data_uri": "ftp://host"})
    assert compiled.arguments({"seed": 3})["seed"] == compiled.arguments({"seed": "3"})["seed"] == 3


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [("KFP_ENDPOINT", "", 'KFP_ENDPOINT is ""'), ("IMAGE_DIGESTS", "/nowhere.json", "names /nowhere.json")],
)
def test_a_missing_setting_is_reported_before_anything_is_created(kfp, cli, monkeypatch, variable, value, message):
    monkeypatch.setenv(variable, value)
    done = cli()
    assert (done.exit_code, kfp.requests) == (2, [])
    assert message in done.output


@pytest.mark.parametrize(
    ("state", "message"), [({"version": "2.4.1"}, "needs 2.17 or newer"), ({"token": "x"}, "wants a valid token")]
)
def test_an_unusable_server_is_reported_before_anything_is_created(
    kfp, client, compiled, config, console, state, message
):
    vars(kfp).update(state)
    with pytest.raises(InputError, match=message):
        submit(client, compiled, config, {}, console)
    assert (kfp.pipelines, kfp.experiments) == ([], [])


def test_the_revision_must_be_given_outside_a_checkout(tmp_path):
    with pytest.raises(InputError, match=r"is no git checkout.*--revision"):
        git_revision(tmp_path)


def test_a_checkout_that_differs_from_its_commit_says_so(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    Path(tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    clean = git_revision(tmp_path)
    assert len(clean) == 12
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "digests.json").write_text("{}")
    assert git_revision(tmp_path) == clean
    (tmp_path / "code.py").write_text("2")
    assert git_revision(tmp_path) == f"{clean}-dirty"
