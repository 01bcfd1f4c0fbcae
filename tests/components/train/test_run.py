import json

import pytest
import torch

from components.shared.errors import InputError
from components.shared.network.saved_network import WEIGHTS
from components.shared.services import mlflow_runs
from components.shared.services.records import write_record
from components.train.run import train_candidate
from tests.components.train.conftest import recipe
from tests.faulty_s3 import FaultyS3
from tests.mlflow_store import new_mlflow_store
from tests.tiny_version import commit_tiny_version


@pytest.fixture(scope="module")
def mlflow_store(tmp_path_factory):
    """Return the folder of an MLflow store. Each test has a separate experiment in it."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(folder))
        yield folder


class Step:
    """Return a function that runs the train step on a small data set."""

    def __init__(self, store, s3, folder, mlflow_store):
        self.manifest, self.manifest_path, self.splits_path = commit_tiny_version(store, folder)
        self.folder, self.experiment = folder, folder.name
        self.settings = {"store": s3, "cache": str(folder / "cache"), "experiment": self.experiment}
        self.experiment_id = mlflow_runs.client().create_experiment(self.experiment, (folder / "artifacts").as_uri())

    def __call__(self, job="job", name="model", **changes):
        config = recipe(**{"candidate": "cnn", "steps": 4, **self.settings, **changes})
        paths = str(self.folder / name), str(self.folder / f"{name}.html")
        metrics = train_candidate(str(self.manifest_path), str(self.splits_path), config, 1, job, *paths)
        return metrics, self.folder / name

    def run(self, job="job"):
        return mlflow_runs.client().get_run(mlflow_runs.candidate_run(self.experiment, job, "cnn"))


@pytest.fixture
def train(store, s3, tmp_path, mlflow_store):
    return Step(store, s3, tmp_path, mlflow_store)


def test_a_run_records_its_inputs_its_environment_and_its_results(train, tmp_path):
    metrics, _ = train(container_image="registry/crack@sha256:1")
    run = train.run()
    assert run.data.params["train.architecture"] == "test_resnet"
    assert run.data.params["train.augment.0"] == "Rotate(limit=30)"
    client = mlflow_runs.client()
    curve = client.get_metric_history(run.info.run_id, "val_loss")
    assert [point.step for point in curve] == [1, 2, 3, 4]
    assert min(point.value for point in curve) == metrics["val_loss"]
    for name in ("learning_rate", "images_per_second", "data_wait_share", "train_loss"):
        assert len(client.get_metric_history(run.info.run_id, name)) == 4, name
    dataset = run.inputs.dataset_inputs[0].dataset
    assert train.manifest.digest.startswith(dataset.digest)
    assert json.loads(dataset.profile) == {"train": 24, "val": 8}
    environment = json.loads(next((tmp_path / "artifacts").rglob("environment.json")).read_text())
    assert environment["packages"]["timm"]
    assert environment["container_image"] == "registry/crack@sha256:1"
    assert sorted(item.path for item in client.list_artifacts(run.info.run_id, "training")) == [
        "training/augmentation.jpg",
        "training/curves.png",
        "training/training.html",
    ]
    assert client.get_run(run.data.tags["mlflow.parentRunId"]).data.tags["crack.job"] == "job"


def test_finished_work_is_reused_and_leaves_no_checkpoints(train, store, tmp_path):
    _, first = train(checkpoint_minutes=1e-9)
    _, second = train(job="later", name="again", workers=1)
    assert (first / WEIGHTS).read_bytes() == (second / WEIGHTS).read_bytes()
    assert (train.run().data.tags["crack.reused"], train.run("later").data.tags["crack.reused"]) == ("False", "True")
    assert len(mlflow_runs.client().get_metric_history(train.run("later").info.run_id, "val_loss")) == 4
    assert not [key for key, _ in store.list("runs/") if "checkpoints" in key]
    train(job="other", name="other", learning_rate=1e-3)
    assert train.run("other").data.tags["crack.reused"] == "False"


def test_a_measured_precision_is_part_of_the_run_and_is_chosen_once(train, store, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    train(precision="auto")
    [(name, _)] = store.list("precision/")
    chosen = json.loads(store.get_bytes(name))
    assert train.run().data.params["train.precision"] == train.run().data.tags["crack.precision"] == chosen["precision"]

    train(job="later", name="again", precision="auto")
    assert train.run("later").data.tags["crack.reused"] == "True"
    other = {"bf16": "fp32", "fp32": "bf16"}[chosen["precision"]]
    del chosen["sha256"]
    write_record(store, name, chosen | {"precision": other})
    train(job="other", name="other", precision="auto")
    assert train.run("other").data.tags["crack.precision"] == other


def test_a_run_that_the_platform_created_becomes_the_run_of_the_candidate(train, monkeypatch):
    given = mlflow_runs.client().create_run(train.experiment_id, tags={"mlflow.parentRunId": "platform"}).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    train()
    run = train.run()
    assert run.info.run_id == given
    assert run.data.tags["mlflow.parentRunId"] == "platform"
    assert run.data.metrics["val_loss"] > 0
    assert mlflow_runs.candidate_run(train.experiment, "job", "vit") != given


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"architecture": "vgg11", "stochastic_depth": 0.1}, "stochastic_depth 0.1: .*'drop_path_rate'"),
        ({"architecture": "halonet_h1", "input_size": 40}, "halonet_h1 cannot be trained with input_size 40"),
        (
            {"augment": ({"Resize": {"height": 16, "width": 16}},)},
            "augment.0.Resize changes a tile of 32 x 32 px to 16",
        ),
    ],
)
def test_a_network_that_cannot_be_trained_stops_the_step_before_data_is_fetched(train, tmp_path, changes, cause):
    with pytest.raises(InputError, match=cause):
        train(**changes)
    assert not (tmp_path / "cache").exists()


def test_compile_without_a_compiler_stops_the_step_before_data_is_fetched(train, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(InputError, match=r"compile is true.*needs a C compiler.*apt-get install gcc"):
        train(compile=True)
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, so the error cannot occur")
def test_a_missing_gpu_stops_the_step_before_anything_is_fetched_or_recorded(train, tmp_path):
    with pytest.raises(InputError, match="require_gpu is true, but PyTorch sees no GPU"):
        train(require_gpu=True)
    assert not (tmp_path / "cache").exists()
    assert mlflow_runs.client().search_runs([train.experiment_id]) == []


@pytest.mark.parametrize("renewed", [False, True])
def test_credentials_that_expire_during_a_training_do_not_cost_its_result(
    train, store, s3_environment, monkeypatch, caplog, tmp_path, renewed
):
    written = []
    file = tmp_path / "credentials"
    key, secret = s3_environment["AWS_ACCESS_KEY_ID"], s3_environment["AWS_SECRET_ACCESS_KEY"]

    def give(token):
        keys = f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\naws_session_token = {token}\n"
        new = tmp_path / "new"
        new.write_text(f"[default]\n{keys}")
        new.replace(file)  # nobody reads a half-written file

    def expire_after_the_first_checkpoint(method, path, token):
        if method == "PUT" and "/checkpoints/" in path:
            written.append(path)
        if token != "first" or len(written) < 2:
            return ""
        if renewed:
            give("second")
        return "expired"

    give("first")
    with FaultyS3(s3_environment["AWS_ENDPOINT_URL_S3"], expire_after_the_first_checkpoint).serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        _, model = train(checkpoint_minutes=1e-9)
        assert server.happened["expired"]

        give("third")
        _, later = train(job="later", name="later")
    assert (model / WEIGHTS).read_bytes() == (later / WEIGHTS).read_bytes()
    facts = train.run("later").data.tags
    if renewed:
        assert "could not" not in caplog.text
        assert facts["crack.reused"] == "True"
    else:
        assert "could not write a checkpoint" in caplog.text
        assert "a result could not be stored" in caplog.text
        assert (facts["crack.reused"], facts["crack.resumed_at"]) == ("False", "[1]")
