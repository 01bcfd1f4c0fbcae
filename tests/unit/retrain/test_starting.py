"""Against a server that speaks KFP's API over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.retrain.config import RetrainConfig
from components.retrain.starting import start_training
from components.shared.runtime import InputError
from tests.pipelines.kfp_server import KfpServer, serving

NOTE = "3 of 12 tests drifted: noise, entropy, embedding"


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with serving(KfpServer()) as running:
        yield running
    assert running.violations == []


@pytest.fixture
def start(server: KfpServer, tmp_path: Path):
    (tmp_path / "verdict.json").write_text(json.dumps({"verdict": "retrain", "reason": NOTE}))
    (tmp_path / "token").write_text(server.token + "\n")

    def run(job: str = "job-1", **parameters: str) -> str:
        config = RetrainConfig(**{"endpoint": server.url, "namespace": server.namespaces[0], **parameters})
        return start_training(str(tmp_path / "verdict.json"), config, job, tmp_path / "token")

    return run


def submit_versions(server: KfpServer, count: int) -> list[str]:
    """Upload versions of crack-training; return their ids, oldest first."""
    pipeline = server.pipeline_service_create_pipeline(
        {"display_name": "crack-training", "name": "crack-training", "namespace": server.namespaces[0]}
    )
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


def test_a_step_that_is_repeated_starts_no_second_run(server, start):
    submit_versions(server, 1)
    assert start() == start()
    assert start("job-2") != start()
    assert len(server.runs) == 2


def test_without_a_version_the_way_out_is_told(server, start):
    with pytest.raises(InputError, match=r"has no version of crack-training; submit one: crack-pipeline submit"):
        start()


def test_a_token_that_is_refused_and_a_server_that_is_away_are_told(server, start, tmp_path):
    (tmp_path / "token").write_text("wrong")
    with pytest.raises(InputError, match=r"KFP at http.* says: .*the step's service account may create runs"):
        start()
    with pytest.raises(InputError, match=r"check retrain\.endpoint"):
        start(endpoint="http://127.0.0.1:9")
