"""`crack-pipeline submit` as CI calls it, with the test server: what it creates, what it prints, how it exits."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.shared.errors import InputError
from components.shared.revision import built_revision
from components.shared.services.records import write_record
from pipelines.cli.main import app
from pipelines.cluster.follow import Follower, Outcome
from pipelines.cluster.submit import submit
from pipelines.config.parameter_file import load_run_config
from pipelines.graphs.compile import compile_version, git_revision
from tests.pipelines.argo_workflow import a_workflow

DONE = {"ingest": "SUCCEEDED", "train": "SUCCEEDED", "executor": "SUCCEEDED", "train-driver": "SUCCEEDED"}
REGISTERED = {**DONE, "register": "SUCCEEDED", "condition-5": "SKIPPED"}
REFUSED = {**DONE, "refuse": "SUCCEEDED", "condition-3": "SKIPPED", "condition-4": "SKIPPED"}

ENVIRONMENTS = "convnext, dev, dinov2, efficientnet, kind, local, paper, paper_as_run, prod"


@pytest.fixture
def cli(kfp, small, tmp_path, monkeypatch):
    """Return the command with a small parameter file, container images by digest and a made-up commit."""
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
    assert "refused: no candidate passed the gate" in done.output
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
    kfp.runs[2]["state"] = "SUCCEEDED"
    with pytest.raises(InputError, match=r"submitted 0 minutes ago.*succeeded"):
        submit(client, compiled, config, {}, console)
    del kfp.runs[2]["runtime_config"]  # as in a run that somebody started on KFP's page
    submit(client, compiled, config, {}, console)
    assert len(kfp.runs) == 4


@pytest.mark.parametrize("state", ["FAILED", "CANCELING", "CANCELED"])
def test_a_run_that_failed_or_was_stopped_may_be_submitted_again_at_once(kfp, client, compiled, config, console, state):
    submit(client, compiled, config, {}, console)
    kfp.runs[0]["state"] = state
    submit(client, compiled, config, {}, console)
    assert len(kfp.runs) == 2


@pytest.fixture
def follow(kfp, client, compiled, config, console):
    """Submit and wait. The run goes through the given scenes. Return the outcome and the output."""

    def run(*scenes, timeout=20.0, allow_refusal=False):
        if scenes:
            kfp.play(*scenes)
        run_id = submit(client, compiled, config, {}, console)
        outcome = Follower(client, compiled, run_id, console, 0.01).wait(timeout, allow_refusal)
        return outcome, console.file.getvalue()

    return run


@pytest.fixture
def follow_with_records(kfp, client, compiled, store, config, console):
    """Like `follow`, with a store in which the run has left files: name -> content."""

    def run(files, *scenes):
        run_id = submit(client, compiled, config, {}, console)
        for name, content in files.items():
            write_record(store, f"runs/{run_id}/{name}", content)
        kfp.play(*scenes)
        with_store = replace(compiled, config=config.model_copy(update={"store": store.uri}))
        outcome = Follower(client, with_store, run_id, console, 0.01).wait(20.0)
        return outcome, console.file.getvalue()

    return run


CHOSEN = {"winner": "cnn", "reasoning": "It was best."}
VERSION = {"registered": True, "name": "crack-classifier", "version": "3", "alias": "challenger"}
NO_VERSION = {"registered": False, "reasons": ["AUROC 0.6 is below 0.8."]}


@pytest.mark.parametrize(
    ("files", "outcome", "words"),
    [
        (
            {"registration.json": VERSION, "choice.json": CHOSEN},
            Outcome.SUCCEEDED,
            "succeeded, registered crack-classifier version 3 as challenger",
        ),
        (
            {"registration.json": NO_VERSION, "choice.json": CHOSEN | {"winner": None}},
            Outcome.FAILED,
            "refused: no candidate passed the gate, so nothing was registered. AUROC 0.6 is below 0.8.",
        ),
        ({}, Outcome.FAILED, "neither the step register nor the step refuse has left a record in s3://"),
    ],
)
def test_the_result_is_read_from_the_store_if_kfp_shows_old_steps(kfp, follow_with_records, files, outcome, words):
    kfp.frozen_after = 1
    old = {"ingest": "SUCCEEDED", "train": "RUNNING"}
    seen, output = follow_with_records(files, ("RUNNING", old), ("RUNNING", DONE), ("SUCCEEDED", REGISTERED))
    assert seen == outcome
    assert words in output
    assert "KFP shows old states of the steps" in output


def test_a_last_step_whose_end_comes_late_is_no_old_state(kfp, follow):
    outcome, output = follow(("SUCCEEDED", {**REGISTERED, "notify": "RUNNING"}))
    assert outcome == Outcome.SUCCEEDED
    assert "old states" not in output


@pytest.mark.parametrize(("candidates", "registered"), [(2, "register-2"), (4, "register-4"), (4, "refuse")])
def test_the_result_is_right_for_several_candidates(kfp, client, store, console, tmp_path, candidates, registered):
    train = "{architecture: resnet18, weights: none, steps: 5}"
    branches = "".join(f"  net{number}: {{train: {train}}}\n" for number in range(candidates))
    (tmp_path / "several.yaml").write_text(f"store: {store.uri}\ncandidates:\n{branches}")
    config = load_run_config(tmp_path / "several.yaml")
    compiled = compile_version("crack-training", config, "0123456789ab", tmp_path)
    assert registered in compiled.tasks
    kfp.frozen_after = 1
    kfp.play(("RUNNING", {"train-2": "RUNNING"}), ("SUCCEEDED", {**DONE, registered: "SUCCEEDED"}))
    run_id = submit(client, compiled, config, {}, console)
    record = NO_VERSION if registered == "refuse" else VERSION
    write_record(store, f"runs/{run_id}/registration.json", record)
    write_record(store, f"runs/{run_id}/choice.json", {"winner": "net1", "reasoning": "It was best."})
    outcome = Follower(client, compiled, run_id, console, 0.01).wait(20.0)
    assert outcome == (Outcome.FAILED if registered == "refuse" else Outcome.SUCCEEDED)
    assert "train net1: running" in console.file.getvalue()


def test_old_steps_and_an_unreadable_store_leave_the_result_unseen(kfp, follow):
    kfp.frozen_after = 1
    outcome, output = follow(("RUNNING", {"train": "RUNNING"}), ("SUCCEEDED", REGISTERED))
    assert outcome == Outcome.UNSEEN
    assert "KFP does not show whether a version was registered" in output
    assert "s3://crack/store could not be read" in output


def test_a_failure_is_explained_from_the_store_if_kfp_shows_old_steps(kfp, follow_with_records):
    kfp.frozen_after = 1
    cause = {"step": "train cnn", "kind": "input", "type": "InputError", "message": "the learning rate is 0"}
    scenes = ("RUNNING", {"train": "RUNNING"}), ("FAILED", {"train": "FAILED"})
    outcome, output = follow_with_records({"errors/train-cnn.json": cause}, *scenes)
    assert outcome == Outcome.FAILED
    assert "train cnn failed: the learning rate is 0" in output


def test_a_failed_step_shows_the_end_of_its_log_and_where_the_rest_is(kfp, follow):
    pod = "crack-training-x-system-container-impl-7"
    kfp.logs = {pod: "\n".join(f"line {number}" for number in range(40))}
    kfp.workflow = a_workflow(("root.exit-handler-1.train.executor", "7", "Failed"))
    kfp.play(("FAILED", {"exit-handler-1": "FAILED", "train": "FAILED", "executor": "FAILED"}))
    _, output = follow()
    assert "train cnn failed: the cause is unknown" in output
    assert "run failed" not in output
    assert "line 39" in output
    assert "line 3\n" not in output
    assert f"kubectl -n team logs {pod} -c main" in output


def test_a_run_that_a_person_stopped_is_stopped_and_not_failed(kfp, follow):
    kfp.play(("FAILED", DONE))
    kfp.scenes[0]["state_history"] = [{"state": "RUNNING"}, {"state": "CANCELING"}, {"state": "FAILED"}]
    outcome, output = follow()
    assert outcome == Outcome.FAILED
    assert "stopped: http" in output
    assert "failed" not in output


def test_steps_are_shown_in_the_order_of_time(kfp, follow):
    kfp.play(("RUNNING", {"predict": "RUNNING", "train": "SUCCEEDED"}), ("SUCCEEDED", REGISTERED))
    predict, train = kfp.scenes[0]["run_details"]["task_details"]
    train |= {"start_time": "2026-11-30T10:00:00Z", "end_time": "2026-11-30T11:00:00Z"}
    predict |= {"start_time": "2026-11-30T11:00:00Z", "end_time": "1970-01-01T00:00:00Z"}
    _, output = follow()
    assert output.index("train cnn: succeeded") < output.index("predict cnn: running")


@pytest.mark.parametrize(
    ("scenes", "options", "outcome", "words"),
    [
        ([("PENDING", {}), ("RUNNING", DONE), ("SUCCEEDED", REGISTERED)], {}, Outcome.SUCCEEDED, "succeeded: http"),
        ([("RUNNING", DONE), ("SUCCEEDED", REFUSED)], {}, Outcome.FAILED, "refused: no candidate passed the gate"),
        ([("SUCCEEDED", REFUSED)], {"allow_refusal": True}, Outcome.SUCCEEDED, "refused"),
        ([("RUNNING", {}), ("FAILED", {**DONE, "train": "FAILED"})], {}, Outcome.FAILED, "train cnn failed"),
        ([("CANCELED", DONE)], {}, Outcome.FAILED, "stopped"),
        ([("SUCCEEDED", {})], {}, Outcome.UNSEEN, "KFP does not show whether a version was registered"),
        ([("RUNNING", DONE)], {"timeout": 0.2}, Outcome.UNSEEN, "the run did not end within 0.2 s; it continues"),
    ],
)
def test_waiting_ends_with_the_status_that_ci_needs(follow, scenes, options, outcome, words):
    seen, output = follow(*scenes, **options)
    assert seen == outcome
    assert words in output


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
    assert "we try again" in output


@pytest.mark.parametrize(("seconds", "outcome"), [(60.0, Outcome.SUCCEEDED), (0.0, Outcome.UNSEEN)])
def test_waiting_outlives_a_server_that_refuses_the_token_for_a_moment(kfp, follow, monkeypatch, seconds, outcome):
    """KFP asks Kubernetes about each token, and refuses all of them while Kubernetes' API server restarts."""
    answer = kfp.run_service_get_run

    def answer_once(run_id: str, **query: str) -> dict:
        if not kfp.faults:
            kfp.fail("GET .*/runs/", "status", status=401, times=2)
        return answer(run_id=run_id, **query)

    monkeypatch.setattr(kfp, "run_service_get_run", answer_once)
    monkeypatch.setattr("pipelines.cluster.follow.REFUSED", seconds)
    seen, output = follow(("RUNNING", {}), ("RUNNING", DONE), ("SUCCEEDED", REGISTERED))
    assert seen == outcome
    assert ("we try again" in output) == (outcome == Outcome.SUCCEEDED)


def test_a_token_that_expires_while_waiting_leaves_the_end_unseen(kfp, follow):
    kfp.fail("GET .*/runs/", "status", status=401)
    outcome, output = follow(("RUNNING", {}))
    assert outcome == Outcome.UNSEEN
    assert "The run continues, but its state cannot be read" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["production"],
            f'unknown environment "production"; pipelines/params has {ENVIRONMENTS}',
        ),
        (
            [],
            f"give one environment ({ENVIRONMENTS}) or one file with --params",
        ),
        (["dev", "--params", "x.yaml"], "give one environment"),
        (["--params", "nowhere.yaml"], "does not exist"),
        (["dev", "--set", "candidates.resnet50.train.stepz=1"], 'did you mean "steps"'),
        (["dev", "-p", "seed"], "write it as key=value"),
        (
            ["dev", "--pipeline", "crack", "--revision", "0"],
            'there is no pipeline "crack"; choose one of crack-training',
        ),
    ],
)
def test_a_wrong_argument_is_reported_before_anything_is_created(kfp, arguments, message):
    done = CliRunner().invoke(app, ["submit", "--allow-tags", *arguments])
    assert (done.exit_code, kfp.requests) == (2, [])
    assert message in done.output


def test_an_unknown_run_time_parameter_is_reported(compiled):
    with pytest.raises(InputError, match='no run-time parameter "sead"; it has data_uri, run_note, seed'):
        compiled.arguments({"sead": "2"})
    with pytest.raises(InputError, match='"seed" must have type integer; got two'):
        compiled.arguments({"seed": "two"})
    with pytest.raises(InputError, match="run-time parameters: seed: Input should be greater than or equal to 0"):
        compiled.arguments({"seed": "-1"})
    with pytest.raises(InputError, match="run-time parameters: data_uri: data is 'ftp://host'"):
        compiled.arguments({"data_uri": "ftp://host"})
    assert compiled.arguments({"seed": 3})["seed"] == compiled.arguments({"seed": "3"})["seed"] == 3


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [("KFP_ENDPOINT", "", 'KFP_ENDPOINT is ""'), ("IMAGE_DIGESTS", "/nowhere.json", "is set to /nowhere.json")],
)
def test_a_missing_setting_is_reported_before_anything_is_created(kfp, cli, monkeypatch, variable, value, message):
    monkeypatch.setenv(variable, value)
    done = cli()
    assert (done.exit_code, kfp.requests) == (2, [])
    assert message in done.output


@pytest.mark.parametrize(
    ("state", "message"), [({"version": "2.4.1"}, "needs 2.17 or newer"), ({"token": "x"}, "refused the token")]
)
def test_an_unusable_server_is_reported_before_anything_is_created(
    kfp, client, compiled, config, console, state, message
):
    vars(kfp).update(state)
    with pytest.raises(InputError, match=message):
        submit(client, compiled, config, {}, console)
    assert (kfp.pipelines, kfp.experiments) == ([], [])


def test_outside_a_checkout_the_revision_is_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"is not a git checkout.*--revision"):
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


def test_in_a_container_image_the_version_of_the_code_is_the_commit_it_was_built_from(tmp_path):
    assert built_revision(tmp_path) == ""
    for written, expected in ((f"{'0123456789' * 4}\n", "012345678901"), (f"{'a' * 40}-dirty", f"{'a' * 12}-dirty")):
        (tmp_path / "REVISION").write_text(written)
        assert built_revision(tmp_path) == expected
    (tmp_path / "REVISION").write_text("unknown\n")
    assert built_revision(tmp_path) == ""
