"""Run the cpu image with the restrictions of a cluster: its contents, what it must not do, and every CPU step."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from components.container_images import image_reference
from components.shared.data.drift_profile import read_profile, write_profile
from components.shared.data.manifest import read_manifest, read_splits, rows_of
from components.shared.page import Page
from components.shared.results.measurements import write_measurements
from components.shared.results.predictions import empty_predictions, write_predictions
from pipelines.config.parameter_file import load_run_config
from pipelines.graphs.compile import compile_pipeline
from tests.images.engine import ROOT, USER, Ended, Engine, rclone
from tests.images.executor import JOB, Compiled

IMAGES = 400
PARAMS = f"""
data_uri: synthetic://?images={IMAGES}&seed=1
candidates: {{cnn: {{train: {{architecture: resnet18, weights: none, steps: 5}}}}}}
evaluate: {{resamples: 200}}
drift: {{permutations: 199}}
"""
STEPS = ("ingest", "split", "evaluate", "drift", "gate", "select", "refuse", "report", "notify")
GIVEN = {
    "data_uri": f"synthetic://?images={IMAGES}&seed=1",
    "seed": 1,
    "run_note": "",
    "status": {"state": "SUCCEEDED", "pipelineJobResourceName": JOB, "pipelineTaskName": "run"},
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    image = os.environ.get("CPU_IMAGE")
    if not image:
        pytest.skip("needs a container engine and a built image: make test-images")
    command = subprocess.run([ROOT / "images" / "engine.sh"], capture_output=True, text=True, check=True).stdout.strip()
    return Engine(command, image)


@pytest.fixture(scope="module")
def cluster(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Run S3 and MLflow with passwords, with loopback only. Yield the network's name and a step's environment."""
    folder = tmp_path_factory.mktemp("servers")
    for name in ("s3", "s3/crack", "mlflow"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = EDIT\ndatabase_uri = sqlite:////data/auth.db\n"
        "admin_username = admin\nadmin_password = a-long-password\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    s3 = ["/rclone", "serve", "s3", "--config", "", "--addr", "127.0.0.1:9000", "/data"]
    mlflow = ["mlflow", "server", "--app-name", "basic-auth", "--backend-store-uri", "sqlite:////data/mlflow.db"]
    address = ["--host", "127.0.0.1", "--port", "5000", "--workers", "1", "--artifacts-destination", "/data/artifacts"]
    keys = {"RCLONE_AUTH_KEY": '"access-key,secret-key"'}
    own = {"MLFLOW_AUTH_CONFIG_PATH": "/auth.ini", "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-secret-key"}
    mounts = [f"{folder / 's3'}:/data", f"{rclone()}:/rclone:ro"]
    with engine.serving(s3, "none", keys, mounts, "Starting s3 server") as name:
        mounts = [f"{folder / 'mlflow'}:/data", f"{folder / 'auth.ini'}:/auth.ini:ro"]
        network = f"container:{name}"
        with engine.serving([*mlflow, *address], network, own, mounts, "Application startup complete"):
            yield (
                network,
                {
                    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000",
                    "AWS_REGION": "us-east-1",
                    "AWS_ACCESS_KEY_ID": "access-key",
                    "AWS_SECRET_ACCESS_KEY": "secret-key",
                    "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
                    "MLFLOW_TRACKING_USERNAME": "admin",
                    "MLFLOW_TRACKING_PASSWORD": "a-long-password",
                },
            )


@pytest.fixture(scope="module")
def ended(
    engine: Engine, cluster: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Compiled, dict[str, Ended]]:
    """Run every CPU step in the pipeline's order, each in its own container; write the GPU steps' outputs."""
    network, environment = cluster
    folder = tmp_path_factory.mktemp("run")
    (folder / "params.yaml").write_text(PARAMS)
    compile_pipeline("crack-training", load_run_config(folder / "params.yaml"), folder / "pipeline.yaml")
    artifacts = folder / "s3"
    pipeline = Compiled(folder / "pipeline.yaml", artifacts)
    results: dict[str, Ended] = {}
    for step in STEPS:
        if step == "evaluate":
            draw_gpu_steps(pipeline)
        given = GIVEN if step != "report" else {**GIVEN, "registration": pipeline.returned("refuse")}
        results[step] = engine.run(pipeline.command(step, given), network, environment, [f"{artifacts}:/s3"])
        assert results[step].code == 0, f"{step}:\n{results[step].output}"
    return pipeline, results


def draw_gpu_steps(pipeline: Compiled) -> None:
    """Write the outputs of train, predict, explain and champion for a network that guesses."""
    manifest = read_manifest(pipeline.path("ingest", "manifest"))
    splits = read_splits(pipeline.path("split", "splits"))
    parts = ("train", "val", "test", "robustness")
    rows = pd.concat([rows_of(manifest, splits, part).assign(split=part) for part in parts])
    rng = np.random.default_rng(3)
    drawn = [
        rows.assign(
            condition=condition, corruption="clean", severity=0, logit_0=0.0, logit_1=rng.normal(size=len(rows))
        )
        for condition in ("before", "after")
    ]
    write_predictions(pd.concat(drawn), rng.normal(size=(len(rows), 8)), pipeline.path("predict", "predictions"))
    nobody = empty_predictions()
    write_predictions(nobody.table, nobody.embeddings, pipeline.path("champion", "predictions"))
    write_measurements([], pipeline.path("explain", "measurements"))
    pipeline.path("explain", "overlays").mkdir()
    pipeline.path("train", "model").mkdir()
    (pipeline.path("train", "model") / "model.safetensors").write_bytes(b"guesses")
    for step in ("train", "explain"):
        Page(step).write(pipeline.path(step, "page"))


def test_every_cpu_step_works_as_another_user_on_a_read_only_root_without_a_network(ended):
    pipeline, results = ended
    assert set(results) == set(STEPS)
    assert len(read_manifest(pipeline.path("ingest", "manifest")).table) > IMAGES * 0.9
    choice = json.loads(pipeline.path("select", "choice").read_text())
    assert choice["winner"] is None
    assert json.loads(pipeline.returned("refuse"))["registered"] is False
    page = pipeline.path("report", "page").read_text()
    assert "<main" in page
    assert "refused" in page
    assert "Nothing was registered" in results["notify"].output


def test_no_other_step_of_the_pipeline_runs_in_this_image(ended):
    pipeline, results = ended
    cpu = {task for task in pipeline.tasks if pipeline.runs(task) and pipeline.image(task) == image_reference("cpu")}
    assert cpu == set(results)


REGISTERED = """
from mlflow.tracking import MlflowClient
MlflowClient().create_registered_model("crack-classifier")
MlflowClient().create_model_version("crack-classifier", "s3://crack/model")
"""


def test_the_drift_check_s_step_works_too(engine, cluster, ended, tmp_path):
    """Production images have the profile of the training images. The champion is a version without files."""
    network, environment = cluster
    trained, _ = ended
    (tmp_path / "params.yaml").write_text(PARAMS)
    compile_pipeline("crack-drift-check", load_run_config(tmp_path / "params.yaml"), tmp_path / "pipeline.yaml")
    pipeline = Compiled(tmp_path / "pipeline.yaml", tmp_path / "s3")
    reference = read_profile(trained.path("drift", "reference_profile"))
    write_profile(reference, pipeline.path("collect", "reference"))
    production = replace(reference, groups=np.char.add("production/", reference.groups))
    write_profile(production, pipeline.path("collect", "observed"))
    assert engine.run(["python3", "-c", REGISTERED], network, environment, []).code == 0
    given = {**GIVEN, "images": "s3://crack/incoming", "version": "1"}
    result = engine.run(pipeline.command("check", given), network, environment, [f"{pipeline.artifacts}:/s3"])
    assert result.code == 0, result.output
    assert pipeline.returned("check") == "steady"


def test_jobs_on_the_cluster_can_clean_up_promote_and_submit(engine, cluster, ended):
    network, environment = cluster
    cleaned = engine.run(["crack-pipeline", "gc", "dev", "--delete"], network, environment, [])
    assert (cleaned.code, "everything in s3://crack/store is needed" in cleaned.output) == (0, True), cleaned.output
    command = ["crack-pipeline", "promote", "7", "--by", "Ada", "--why", "better"]
    promoted = engine.run(command, network, environment, [])
    assert (promoted.code, "crack-classifier" in promoted.output) == (2, True), promoted.output
    command = ["crack-pipeline", "submit", "dev", "--allow-tags"]
    submitted = engine.run(command, network, environment | {"KFP_ENDPOINT": "http://127.0.0.1:9"}, [])
    assert (submitted.code, "http://127.0.0.1:9 does not answer" in submitted.output) == (2, True), submitted.output


@pytest.fixture(scope="module")
def probe(engine: Engine):
    """Run Python in the image with the same restrictions; return its output."""

    def run(code: str) -> str:
        result = engine.run(["python3", "-c", code], "none", {}, [])
        assert result.code == 0, result.output
        return result.output.strip()

    return run


def test_the_container_can_write_only_to_tmp_and_reach_nothing(probe):
    assert probe("import os; print(os.getuid(), os.getgid())") == USER.replace(":", " ")
    attempt = "try: open('/var/tmp/x', 'w')\nexcept OSError as error: print(error.strerror)"
    assert probe(attempt) == "Read-only file system"
    assert probe("open('/tmp/x', 'w').write('x'); print('written')") == "written"
    names = probe("import socket; print([name for _, name in socket.if_nameindex()])")
    assert names == "['lo']"


def test_the_image_has_no_torch_no_installer_and_the_same_kfp_as_the_compiler(probe):
    import kfp

    found = "import importlib.util as u; print([bool(u.find_spec(n)) for n in ('torch', 'pip', 'uv', 'setuptools')])"
    assert probe(found) == "[False, False, False, False]"
    assert probe("import kfp; print(kfp.__version__)") == kfp.__version__
    tools = "import shutil; print([tool for tool in ('gcc', 'git', 'uv', 'pip', 'pip3') if shutil.which(tool)])"
    assert probe(tools) == "[]"
    assert probe("import shutil; print(shutil.which('crack-pipeline'))") == "/usr/local/bin/crack-pipeline"


def test_the_bill_of_materials_lists_what_is_installed(probe):
    bill = json.loads(probe("print(open('/opt/venv/sbom.cdx.json').read())"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    named = {part["purl"] for part in bill["components"]}
    listed = probe(
        "import importlib.metadata as m, re\n"
        "for d in m.distributions(): print(re.sub('[-_.]+', '-', d.metadata['Name']).lower() + '@' + d.version)"
    )
    assert {f"pkg:pypi/{line}" for line in listed.splitlines()} <= named
    assert any(purl.startswith("pkg:deb/debian/libc6@") for purl in named)


def test_the_image_says_where_it_comes_from_and_runs_as_a_number(engine, probe):
    assert engine.inspect("{{.Config.User}}") == "10001:10001"
    for label in ("source", "revision", "version", "licenses", "base.name"):
        value = engine.inspect(f'{{{{index .Config.Labels "org.opencontainers.image.{label}"}}}}')
        assert value, label
    revision = engine.inspect('{{index .Config.Labels "org.opencontainers.image.revision"}}')
    assert probe("print(open('/opt/crack/REVISION').read().strip())") == revision
