"""`crack-pipeline schedule` with the test server: no schedule is lost or exists twice, and CI does not resume one."""

import pytest
from typer.testing import CliRunner

from components.shared.errors import InputError
from pipelines.cli.main import app
from pipelines.cluster.schedule import place_all, place_schedule, switch_all
from pipelines.config.parameter_file import load_run_config
from pipelines.config.schedule_config import PipelineName, ScheduleConfig
from pipelines.graphs.compile import MODULES, compile_version

NAME = "crack-training prod"


@pytest.fixture
def place(kfp, client, compiled, config, console):
    """Place a schedule; return the last line of output."""

    def run(cron="0 2 * * 6", **parameters):
        schedule = ScheduleConfig(cron=cron, parameters=parameters)
        place_schedule(client, compiled, config, schedule, "prod", console)
        return console.file.getvalue().splitlines()[-1]

    return run


def test_the_schedule_is_as_the_file_says(kfp, client, config, console):
    place_all(client, config, "prod", None, "0123456789ab", console)
    (run,) = kfp.recurring_runs
    assert run["display_name"] == NAME
    assert run["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * 6"}}
    assert (run["max_concurrency"], run["no_catchup"], run["mode"]) == ("1", True, "ENABLE")
    assert run["pipeline_version_reference"]["pipeline_version_id"] == kfp.versions[0]["pipeline_version_id"]
    assert run["runtime_config"]["parameters"]["seed"] == 3
    assert run["service_account"] == "crack-pipeline"
    assert kfp.runs == []
    assert "created, next at Sat 20" in console.file.getvalue()


def test_the_same_again_does_nothing(kfp, place):
    place()
    first = dict(kfp.recurring_runs[0])
    assert "unchanged" in place()
    assert kfp.recurring_runs == [first]
    assert kfp.asked("POST .*/recurringruns|DELETE") == 1


@pytest.mark.parametrize("changed", [{"cron": "0 3 * * 6"}, {"seed": 5}])
def test_a_changed_schedule_is_created_before_the_old_one_is_deleted(kfp, place, changed):
    place()
    old = kfp.recurring_runs[0]["recurring_run_id"]
    assert "changed" in place(**changed)
    assert [run["recurring_run_id"] for run in kfp.recurring_runs] != [old]
    assert len(kfp.recurring_runs) == 1
    created = max(number for number, request in enumerate(kfp.requests) if "POST" in request and "recurring" in request)
    assert created < next(number for number, request in enumerate(kfp.requests) if request.startswith("DELETE"))


def test_a_new_version_replaces_the_old_one(kfp, client, place, config, console, tmp_path):
    place()
    other = config.model_copy(update={"run_note": "changed"})
    newer = compile_version("crack-training", other, "ba9876543210", tmp_path)
    place_schedule(client, newer, other, config.schedule["crack-training"], "prod", console)
    (run,) = kfp.recurring_runs
    assert run["pipeline_version_reference"]["pipeline_version_id"] == kfp.versions[1]["pipeline_version_id"]


@pytest.mark.parametrize("fault", ["POST .*/recurringruns", "DELETE .*/recurringruns"])
def test_a_failure_half_way_leaves_a_schedule_and_the_next_call_completes_it(kfp, place, fault):
    place()
    kfp.fail(fault, "status", status=403)
    with pytest.raises(InputError):
        place(cron="0 3 * * 6")
    assert kfp.recurring_runs
    place(cron="0 3 * * 6")
    assert [run["trigger"]["cron_schedule"]["cron"] for run in kfp.recurring_runs] == ["0 0 3 * * 6"]


def test_a_schedule_whose_run_has_not_ended_is_kept(kfp, client, config, console, place):
    """If a schedule is deleted, KFP also deletes those of its runs that have not ended."""
    place()
    (schedule,) = kfp.recurring_runs
    ended, going = (
        {
            "run_id": state.lower(),
            "display_name": f"nightly {state}",
            "experiment_id": schedule["experiment_id"],
            "recurring_run_id": schedule["recurring_run_id"],
            "state": state,
            "created_at": "2026-12-01T02:00:00Z",
        }
        for state in ("FAILED", "RUNNING")
    )
    kfp.runs += [going, ended]  # the newest first, as KFP lists them

    problem = 'its run "nightly RUNNING" has not ended, and KFP would delete this run too.* runs stop ENV running'
    with pytest.raises(InputError, match=problem):
        place(cron="0 3 * * 6")
    with pytest.raises(InputError, match=problem):
        switch_all(client, config, "prod", None, "remove", console)
    assert kfp.recurring_runs == [schedule]
    assert "unchanged" in place()

    going["state"] = "SUCCEEDED"
    assert "changed" in place(cron="0 3 * * 6")
    assert len(kfp.recurring_runs) == 1


@pytest.mark.parametrize("kind", ["lost", "reset"])
def test_a_lost_answer_does_not_double_it(kfp, place, kind):
    kfp.fail("POST .*/recurringruns", kind)
    place()
    assert len(kfp.recurring_runs) == 1


def test_a_paused_schedule_stays_paused_through_a_change(kfp, client, config, console, place):
    place()
    switch_all(client, config, "prod", None, "pause", console)
    assert kfp.recurring_runs[0]["mode"] == "DISABLE"
    assert "paused; --resume" in place(cron="0 3 * * 6")
    assert [run["mode"] for run in kfp.recurring_runs] == ["DISABLE"]
    switch_all(client, config, "prod", None, "resume", console)
    assert kfp.recurring_runs[0]["mode"] == "ENABLE"


def test_other_environments_and_other_peoples_schedules_are_not_touched(kfp, client, compiled, config, console, place):
    place()
    stranger = {**kfp.recurring_runs[0], "display_name": "somebody's", "recurring_run_id": "stranger"}
    kfp.recurring_runs.append(stranger)
    place_schedule(client, compiled, config, ScheduleConfig(cron="0 5 * * *"), "dev", console)
    place(cron="0 4 * * 6")
    switch_all(client, config, "prod", None, "remove", console)
    assert {run["display_name"] for run in kfp.recurring_runs} == {"somebody's", "crack-training dev"}


def test_the_list_names_time_version_and_state(kfp, client, config, console, place):
    place()
    switch_all(client, config, "prod", None, "list", console)
    (row,) = [line for line in console.file.getvalue().splitlines() if line.startswith(f"│ {NAME}")]
    assert "0 2 * * 6" in row
    assert kfp.versions[0]["display_name"] in row
    assert "enabled" in row


def test_a_schedule_that_left_the_file_is_reported(kfp, client, config, console, place, monkeypatch):
    monkeypatch.setitem(MODULES, "crack-other", "")
    place()
    kfp.recurring_runs.append({**kfp.recurring_runs[0], "display_name": "crack-other prod", "recurring_run_id": "x"})
    place_all(client, config, "prod", None, "0123456789ab", console)
    assert '"crack-other prod" is scheduled, but the parameter file does not schedule it' in console.file.getvalue()


def test_removing_a_missing_schedule_is_reported(client, config, console):
    names = f"crack-drift-check prod or crack-inspection prod or {NAME}"
    with pytest.raises(InputError, match=f"nothing is scheduled under {names}"):
        switch_all(client, config, "prod", None, "remove", console)


def test_a_file_without_a_schedule_says_what_to_add(kfp):
    done = CliRunner().invoke(app, ["schedule", "dev", "--allow-tags", "--revision", "0"])
    assert (done.exit_code, kfp.requests) == (2, [])
    assert 'schedule: {crack-training: {cron: "0 2 * * 1"}}' in done.output


def test_two_actions_exclude_each_other(kfp):
    done = CliRunner().invoke(app, ["schedule", "prod", "--pause", "--remove"])
    assert done.exit_code == 2
    assert "--pause and --remove cannot be used together" in done.output


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('{crack-training: {cron: "0 0 2 * * 6"}}', r"schedule\.crack-training\.cron: .*has 6 fields; expected five"),
        ('{crack-trainings: {cron: "0 2 * * 6"}}', r"crack-trainings"),
        ("{crack-training: {}}", r'"schedule\.crack-training\.cron" is missing'),
    ],
)
def test_a_wrong_schedule_is_reported_with_its_place(small, tmp_path, section, message):
    file = tmp_path / "p.yaml"
    file.write_text(small.read_text().partition("schedule")[0] + f"schedule: {section}\n")
    with pytest.raises(InputError, match=message):
        load_run_config(file)


def test_an_unknown_parameter_is_reported_before_anything_is_created(kfp, place):
    with pytest.raises(InputError, match='no run-time parameter "sead"'):
        place(sead=1)
    assert kfp.requests == []


def test_every_pipeline_can_be_scheduled():
    assert set(PipelineName.__args__) == set(MODULES)
