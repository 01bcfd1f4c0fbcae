import pytest

from components.notify.config import NotifyConfig
from components.notify.end_mlflow_runs import close_runs
from components.notify.ended_run import Ending
from components.shared.services import mlflow_runs
from tests.mlflow_store import new_mlflow_store


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (Ending.SUCCEEDED, "FINISHED"),
        (Ending.REFUSED, "FINISHED"),
        (Ending.FAILED, "FAILED"),
        (Ending.STOPPED, "KILLED"),
    ],
)
def test_all_runs_of_the_job_are_ended_and_no_other_runs(tmp_path, monkeypatch, ending, status):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    ours = mlflow_runs.candidate_run("crack-training", "7", "cnn")
    other = mlflow_runs.job_run("crack-training", "8")
    close_runs(ending, "7", NotifyConfig())
    client = mlflow_runs.client()
    assert client.get_run(ours).info.status == status
    assert client.get_run(mlflow_runs.job_run("crack-training", "7")).info.status == status
    assert client.get_run(other).info.status == "RUNNING"


def test_an_unreachable_server_does_not_fail_the_step(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    close_runs(Ending.FAILED, "7", NotifyConfig())
    assert "could not be ended" in caplog.text
