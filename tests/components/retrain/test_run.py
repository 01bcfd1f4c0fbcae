"""Test the retrain step with a test server for KFP's API."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.retrain.config import RetrainConfig
from components.retrain.run import start_training
from components.shared.errors import InputError
from components.shared.services.store import Store
from tests.pipelines.kfp_server import KfpServer, serving

NOTE = "3 of 12 tests found drift: noise, entropy, embedding"


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with serving(KfpServer()) as running:
        yield running
    assert running.violations == []


@pytest.fixture
def start(server: KfpServer, store: Store, tmp_path: Path):
    (tmp_path / "token").write_text(server.token + "\n")

    def run(checked: int = 1, since: int = 1, version: str = "3", **parameters: str | int) -> str:
        """Call `start_training` with the result of a check on a day in January."""
        days = {"checked": f"2026-01-{checked:02d}T05:00:00+00:00", "since": f"2026-01-{since:02d}T05:00:00+00:00"}
        verdict = {"verdict": "retrain", "reason": NOTE, "model": "crack-classifier", "version": version, **days}
        (tmp_path / "verdict.json").write_text(json.dumps(verdict))
        given = {"endpoint": server.url, "namespace": server.namespaces[0], "store": store.uri, **parameters}
        return start_training(
            str(tmp_path / "verdict.json"), RetrainConfig(**given), f"day {checked}", tmp_path / "token"
        )

    return run


def submit_versions(server: KfpServer, count: int) -> list[str]:
    """Upload versions of crack-training. Return their ids, the oldest first."""
    about = {"display_name": "crack-training", "name": "crack-training"}
    if server.multi_user:
        about["namespace"] = server.namespaces[0]
    pipeline = server.pipeline_service_create_pipeline(about)
    document = b"root: {inputDefinitions: {parameters: {run_note: {parameterType: STRING}}}}"
    uploads = [
        server.upload_pipeline_version(f"v{number}", pipeline["pipeline_id"], document) for number in range(count)
    ]
    return [upload["pipeline_version_id"] for upload in uploads]


def test_the_newest_version_runs_with_the_reason_as_its_note(server, start):
    versions = submit_versions(server, 2)
    run = start()
    assert [record["run_id"] for record in server.runs] == [run]
    started = server.runs[0]
    assert started["pipeline_version_reference"]["pipeline_version_id"] == versions[-1]
    assert started["runtime_config"]["parameters"] == {"run_note": NOTE}
    assert started["service_account"] == "crack-pipeline"
    assert server.experiments[0]["display_name"] == "crack-training"


def sentence(store: Store, day: int) -> str:
    return json.loads(store.get_bytes(f"runs/day {day}/training.json"))["said"]


def test_a_drift_that_lasts_starts_one_training_and_another_after_the_stated_days(server, start, store):
    submit_versions(server, 1)
    first = start(checked=1)
    assert sentence(store, 1) == f"Training started: run {first}."
    assert [start(checked=day, again_after_days=10) for day in (2, 7, 10)] == [first] * 3
    assert sentence(store, 7).startswith(f"This drift has started a training already: run {first}, ")
    assert sentence(store, 7).endswith("If this drift lasts, it starts another training from 2026-01-11 on.")
    second = start(checked=11, again_after_days=10)
    assert second != first
    assert start(checked=20, again_after_days=10) == second
    assert len(server.runs) == 2


def test_a_new_champion_and_a_drift_that_returns_start_another_training(server, start):
    submit_versions(server, 1)
    runs = [start(checked=1), start(checked=3, since=3), start(checked=3, since=1, version="4")]
    assert len(set(runs)) == len(server.runs) == 3


@pytest.mark.parametrize("multi_user", [True, False])
def test_the_run_is_in_the_namespace_of_the_service_account(server, store, tmp_path, multi_user):
    server.multi_user = multi_user
    submit_versions(server, 1)
    claims = json.dumps({"kubernetes.io": {"namespace": server.namespaces[0]}}).encode()
    server.token = f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"
    (tmp_path / "token").write_text(server.token)
    time = "2026-01-01T05:00:00+00:00"
    verdict = {"reason": NOTE, "model": "crack-classifier", "version": "3", "checked": time, "since": time}
    (tmp_path / "verdict.json").write_text(json.dumps(verdict))
    config = RetrainConfig(endpoint=server.url, store=store.uri)
    start_training(str(tmp_path / "verdict.json"), config, "7", tmp_path / "token")
    assert len(server.runs) == 1
    assert server.experiments[0].get("namespace") == (server.namespaces[0] if multi_user else None)


def test_if_kfps_answer_is_lost_no_second_run_is_started(server, start):
    submit_versions(server, 1)
    server.fail("POST .*/runs", "lost")
    start()
    assert len(server.runs) == 1


def test_the_error_about_a_missing_version_says_what_to_do(server, start):
    with pytest.raises(
        InputError, match=r"has no version of the pipeline crack-training; upload one with crack-pipeline submit"
    ):
        start()


def test_a_refused_token_is_reported(server, start, tmp_path):
    (tmp_path / "token").write_text("wrong")
    with pytest.raises(
        InputError, match=r"refused the token; get a new one.*Check retrain\.endpoint, .*account may create runs"
    ):
        start()
