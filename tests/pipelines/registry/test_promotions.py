"""Promotions and rollbacks on a real MLflow server."""

import functools
import os
import secrets
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from components.shared.errors import InputError
from components.shared.services.mlflow_runs import CHALLENGER, CHAMPION, CHECKED, VERDICT, put
from pipelines.cli.main import app
from pipelines.registry.promotions import Registry
from tests.conftest import mlflow_server
from tests.mlflow_store import new_mlflow_store


@pytest.fixture
def registry(mlflow_environment, monkeypatch) -> Registry:
    """Four versions: 1 to 3 passed, 4 failed."""
    for key, value in mlflow_environment.items():
        monkeypatch.setenv(key, value)
    client, name = MlflowClient(mlflow_environment["MLFLOW_TRACKING_URI"]), f"crack-{uuid.uuid4().hex[:8]}"
    client.create_registered_model(name)
    for number in range(1, 5):
        tags = {VERDICT: "passed" if number < 4 else "refused", CHECKED: "passed"}
        client.create_model_version(name, f"s3://crack/{name}/{number}", tags=tags)
    return Registry(client, name)


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def test_promote_and_rollback_move_the_alias_and_keep_the_history(registry):
    registry.client.update_registered_model(registry.name, "Ours.")
    registry.promote("1", "Ada", "first model")
    registry.promote("3", "Ada", "better on walls")
    registry.promote("2", "Bo", "smaller |\nand quicker")
    assert registry.rollback("Cy", "misses deck cracks").target == "3"
    assert registry.rollback("Cy", "still").target == "1"
    assert registry.alias(CHAMPION) == "1"
    acts = [(entry.action, entry.source, entry.target, entry.by) for entry in registry.history()]
    assert acts == [
        ("promote", None, "1", "Ada"),
        ("promote", "1", "3", "Ada"),
        ("promote", "3", "2", "Bo"),
        ("rollback", "2", "3", "Cy"),
        ("rollback", "3", "1", "Cy"),
    ]
    with pytest.raises(InputError, match="no earlier champion"):
        registry.rollback("Cy", "once more")
    assert registry.promote("1", "Ada", "again") is None
    assert len(registry.history()) == 5
    own, _, shown = registry.client.get_registered_model(registry.name).description.partition("\n\n## Promotions\n")
    assert own == "Ours."
    rows = [line.split(" | ")[1:] for line in shown.strip().splitlines()[2:]]
    assert rows[0] == ["rollback", "3", "1", "Cy", "still |"]  # the newest first
    assert rows[2] == ["promote", "3", "2", "Bo", "smaller \\| and quicker |"]
    assert len(rows) == 5


def test_a_version_whose_verdict_failed_is_refused_unless_forced(registry):
    with pytest.raises(InputError, match="version 4 is 'refused'"):
        registry.promote("4", "Ada", "we need it")
    assert registry.alias(CHAMPION) is None
    registry.promote("4", "Ada", "we need it", force=True)
    assert registry.history()[0].forced
    registry.client.set_model_version_tag(registry.name, "3", CHECKED, "answers otherwise")
    with pytest.raises(InputError, match="check of its answers: answers otherwise"):
        registry.promote("3", "Ada", "why not")
    with pytest.raises(InputError, match="no version '9'; its versions are: 4, 3, 2, 1"):
        registry.promote("9", "Ada", "typo")
    with pytest.raises(InputError, match="--why is empty"):
        registry.promote("1", "Ada", " ")


@pytest.mark.parametrize("fatal", ["set_registered_model_alias", "set_registered_model_tag"])
def test_an_act_killed_in_the_middle_is_finished_by_the_next_command(registry, monkeypatch, fatal):
    registry.promote("1", "Ada", "first model")
    with monkeypatch.context() as killed:
        real, calls = getattr(registry.client, fatal), []

        def die(*arguments):
            # The history's entry is written. Then the process dies, before or after it moves the alias.
            if fatal == "set_registered_model_alias" or calls:
                raise KeyboardInterrupt
            calls.append(real(*arguments))

        killed.setattr(registry.client, fatal, die)
        with pytest.raises(KeyboardInterrupt):
            registry.promote("2", "Ada", "second")
    assert invoke("status", "--name", registry.name).exit_code == 0
    assert registry.alias(CHAMPION) == "2"
    assert not registry.settle()
    assert [entry.target for entry in registry.history()] == ["1", "2"]


def at_once(act, people: int = 3) -> None:
    """Let several people do `act(number)` at the same moment; raise what one of them raised."""
    together = threading.Barrier(people)

    def wait_and_act(number: int) -> None:
        together.wait()
        act(number)

    with ThreadPoolExecutor(people) as pool:
        list(pool.map(wait_and_act, range(1, people + 1)))


def test_everyone_who_acts_at_once_is_in_the_history_and_the_alias_follows_its_last_entry(registry):
    uri = registry.client.tracking_uri
    at_once(lambda number: Registry(MlflowClient(uri), registry.name).promote(str(number), "many", "at once"))
    history = registry.history()
    assert sorted(entry.target for entry in history) == ["1", "2", "3"]
    assert registry.alias(CHAMPION) == history[-1].target
    assert not registry.settle()


def test_nobody_is_refused_who_sets_the_same_new_tag_at_once(registry):
    # Without `put`, MLflow refuses one of the people in about every fifth round.
    for attempt in range(20):
        set_tag = functools.partial(put, registry.client.set_registered_model_tag, registry.name, f"tag{attempt}")
        at_once(lambda number, set_tag=set_tag: set_tag(str(number)))
    tags = registry.client.get_registered_model(registry.name).tags
    assert {tags[f"tag{attempt}"] for attempt in range(20)} <= {"1", "2", "3"}


def test_the_commands_say_what_they_did(registry):
    client, name = registry.client, registry.name
    client.set_registered_model_alias(name, CHALLENGER, "2")
    promoted = invoke("promote", "2", "--by", "Ada", "--why", "first model", "--name", name)
    assert promoted.stdout == f"{name} version 2 is champion, the first one (promote by Ada: first model)\n"
    client.set_registered_model_alias(name, CHALLENGER, "3")
    shown = invoke("status", "--name", name).stdout
    assert "challenger: version 3; not compared with the champion, version 2\n" in shown
    assert 'crack-pipeline promote 3 --by NAME --why "…"\n' in shown
    client.set_registered_model_alias(name, CHAMPION, "1")
    for key, value in {"": "retrain", ".images": "s3://in/2026-11-24", ".checked": "2026-11-25T05:00:07+00:00"}.items():
        client.set_model_version_tag(name, "1", f"crack.drift{key}", value)
    shown = invoke("status", "--name", name).stdout
    assert "moved by hand to version 1" in shown
    assert "last drift check of the champion (2026-11-25, s3://in/2026-11-24): retrain" in shown
    invoke("promote", "3", "--by", "Bo", "--why", "no [b]misses[/] at [deck]", "--name", name)
    for said in ("first model", "no [b]misses[/] at [deck]"):
        assert said in invoke("history", "--name", name).stdout
    refused = invoke("promote", "4", "--by", "Ada", "--why", "x", "--name", name)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: the verdict on")


def test_the_status_links_the_comparison_page_and_says_when_its_champion_was_another(registry):
    client, name = registry.client, registry.name
    run = client.create_run("0", tags={"gate.champion": "better", "gate.champion_version": "1"})
    compared = client.create_model_version(
        name, f"s3://crack/{name}/5", run_id=run.info.run_id, tags={VERDICT: "passed"}
    )
    client.set_registered_model_alias(name, CHALLENGER, compared.version)
    client.set_registered_model_alias(name, CHAMPION, "1")
    shown = invoke("status", "--name", name).stdout
    assert "challenger: version 5; compared with the champion, version 1: better" in shown
    page = f"/#/experiments/0/runs/{run.info.run_id}/artifacts/dossier/promotion.html"
    assert f"page for the decision: {client.tracking_uri}{page}\n" in shown
    client.set_registered_model_alias(name, CHAMPION, "2")
    stale = "not compared with the champion, version 2. Compared with version 1, the champion at that time: better\n"
    assert stale in invoke("status", "--name", name).stdout


def test_a_server_with_accounts_accepts_only_the_right_one(s3_environment, tmp_path, monkeypatch):
    password = secrets.token_hex(12)
    (tmp_path / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{tmp_path}/auth.db\n"
        f"admin_username = ada\nadmin_password = {password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    accounts = {"MLFLOW_AUTH_CONFIG_PATH": f"{tmp_path}/auth.ini", "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test"}
    with mlflow_server(tmp_path, s3_environment | accounts, "--app-name", "basic-auth") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        client = MlflowClient(uri)
        client.create_registered_model("guarded")
        client.create_model_version("guarded", "s3://crack/guarded", tags={VERDICT: "passed", CHECKED: "passed"})
        assert invoke("promote", "1", "--by", "Ada", "--why", "first", "--name", "guarded").exit_code == 0
        account = {"username": "eve", "password": password}
        requests.post(f"{uri}/api/2.0/mlflow/users/create", json=account, auth=("ada", password)).raise_for_status()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "eve")
        guest = invoke("promote", "1", "--by", "Eve", "--why", "mine", "--name", "guarded")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "not the one")
        stranger = invoke("promote", "1", "--by", "Eve", "--why", "mine", "--name", "guarded")
    assert (guest.exit_code, "does not allow this user to make the request" in guest.stderr) == (2, True), guest.output
    assert stranger.exit_code == 2
    assert "not authenticated" in stranger.stderr
    assert "check MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and" in stranger.stderr
    assert password not in stranger.stdout + stranger.stderr


def test_what_to_do_next_in_a_workdir_says_where(tmp_path):
    client, name = MlflowClient(new_mlflow_store(tmp_path)), "crack-classifier"
    client.create_registered_model(name)
    run = client.create_run(client.create_experiment("crack-training", "s3://crack/mlflow"))
    passed = {VERDICT: "passed", CHECKED: "passed"}
    client.create_model_version(name, "s3://crack/1", run_id=run.info.run_id, tags=passed)
    client.create_model_version(name, "s3://crack/2", tags=passed | {CHECKED: "image [0a] is served otherwise"})
    client.set_registered_model_alias(name, CHALLENGER, "1")
    shown = invoke("status", "--workdir", str(tmp_path)).stdout
    assert "challenger: version 1; there is no champion yet\n" in shown
    page = tmp_path / "s3" / "crack" / "mlflow" / run.info.run_id / "artifacts" / "dossier" / "promotion.html"
    assert f"page for the decision: {page}\n" in shown
    assert f'crack-pipeline promote 1 --by NAME --why "…" --workdir {tmp_path}\n' in shown
    assert (
        "version 2 cannot be promoted without --force: check of its answers: image [0a] is served otherwise\n" in shown
    )
    client.delete_run(run.info.run_id)
    client.set_registered_model_alias(name, CHALLENGER, "2")
    assert "page for the decision: the page was deleted with its run" in (
        invoke("status", "--workdir", str(tmp_path)).stdout
    )


@pytest.mark.timeout(120)  # MLflow's client by itself tries for four minutes
def test_a_server_that_does_not_answer_is_reported_soon_and_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@127.0.0.1:9")
    done = invoke("status")
    assert done.exit_code == 2
    assert "the MLflow server at http://127.0.0.1:9 cannot be used: [Errno 111] Connection refused" in done.stderr
    assert "secret" not in done.output
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_missing_registry_is_reported(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    nowhere = invoke("status")
    assert nowhere.exit_code == 2
    assert "give the --workdir of local runs, or set MLFLOW_TRACKING_URI" in nowhere.stderr
    assert "has no runs" in invoke("status", "--workdir", "/nowhere").stderr
