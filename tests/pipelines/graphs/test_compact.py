"""The size of a compiled pipeline in the status of a run, and that a step runs from its short command.

The sizes follow KFP's backend (backend/src/v2/driver and compiler/argocompiler of kubeflow/pipelines) with the settings
of Argo in KFP's own manifests, which give every template a retry node.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.config.parameter_file import load_run_config
from pipelines.graphs.compile import compile_pipeline

ROOT = Path(__file__).parents[3]
PROD = ROOT / "pipelines" / "params" / "prod.yaml"
LARGEST_STATUS = 0.85 * 2**20  # bytes; Argo compresses the status of a workflow beyond 1 MiB

RUN = "0b7b6f0e-0c3d-4a0e-9a39-6b0c5c4e6f10"
STORE = "minio://mlpipeline/private-artifacts/team/v2/artifacts/crack-training"
NODE_ITSELF = 500  # bytes: ids, names, times, state, children
LOGS = 300  # bytes of a pod's log among its outputs
# A step has three nodes, of its driver, its executor and its pod. Each has a retry node. All have the pod's patch, as
# an output or as an input. The first two have the settings of the step, too.
NODES_OF_A_STEP = 6
NODES_OF_A_DRIVER = 2


def compiled(folder: Path, count: int = 2) -> tuple[dict, dict]:
    """Compile the scheduled retraining with a number of candidates. Return the pipeline and the platform's settings."""
    setting = "{train: {architecture: resnet50, steps: 1, require_gpu: true}}"
    more = [f"candidates.candidate_{number}={setting}" for number in range(count - 2)]
    compile_pipeline("crack-training", load_run_config(PROD, more), folder / "p.yaml")
    spec, platform = yaml.load_all((folder / "p.yaml").read_text(), yaml.CSafeLoader)
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def dumped(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def dumped_by_kfp(value: object) -> str:
    """JSON as protobuf writes it in Go, with a space after each comma."""
    return json.dumps(value, separators=(", ", ":"))


def length_as_text(value: object) -> int:
    """Write a value as JSON, then write this text as a JSON string. Return the number of bytes."""
    return len(dumped(dumped(value)))


def place(task: str, name: str) -> str:
    return f"{STORE}/{RUN}/{task}/{RUN}/{name}"


def with_logs(component: dict) -> dict:
    """Return a component as KFP changes it: KFP adds an output for the log."""
    outputs = component.get("outputDefinitions", {})
    logs = {"executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}}}
    return component | {"outputDefinitions": outputs | {"artifacts": outputs.get("artifacts", {}) | logs}}


def executor_input(task: dict, component: dict) -> dict:
    """Build what the driver passes to a step's launcher: the value of every parameter, the URI of every artifact."""
    name = task["taskInfo"]["name"]
    parameters = {}
    for key, source in task.get("inputs", {}).get("parameters", {}).items():
        parameters[key] = (
            source["runtimeValue"]["constant"] if "runtimeValue" in source else "s3://crack/tiles/of/today"
        )
    artifacts = {}
    for key in task.get("inputs", {}).get("artifacts", {}):
        metadata = {"display_name": key, "store_session_info": ""}
        if key in ("manifest", "splits"):
            metadata["digest"] = "0" * 64
        described = {"name": "1234", "type": {"instanceSchema": ""}, "uri": place(name, key), "metadata": metadata}
        artifacts[key] = {"artifacts": [described]}
    produced = component.get("outputDefinitions", {})
    outputs = {}
    for key, kind in produced.get("artifacts", {}).items():
        outputs[key] = {"artifacts": [{"name": key, "type": kind["artifactType"], "uri": place(name, key)}]}
    return {
        "inputs": {"parameterValues": parameters, "artifacts": artifacts},
        "outputs": {
            "artifacts": outputs,
            "parameters": {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in produced.get("parameters", {})},
            "outputFile": place(name, "output_metadata.json"),
        },
    }


def pod_patch(task: dict, component: dict, container: dict, pod: dict) -> dict:
    """The driver's patch of a step's pod."""
    folders = pod.get("emptyDirMounts", [])
    secrets = pod["secretAsVolume"]
    launcher = [
        "/kfp-launcher/launch", "--executor_type", "container", "--pipeline_name", "crack-training", "--run_id", RUN,
        "--execution_id", "1234",
        "--executor_input", dumped_by_kfp(executor_input(task, component)),
        "--component_spec", dumped_by_kfp(component),
        "--pod_name", "$(KFP_POD_NAME)", "--pod_uid", "$(KFP_POD_UID)",
        "--ml_pipeline_server_address", "ml-pipeline.kubeflow.svc.cluster.local", "--ml_pipeline_server_port", "8887",
        "--mlmd_server_address", "metadata-grpc-service.kubeflow.svc.cluster.local", "--mlmd_server_port", "8080",
        "--publish_logs", "true", "--ml_pipeline_tls_enabled=false", "--metadata_tls_enabled=false",
        "--ca_cert_path", "", "--cache_disabled=false", "--log_level", "1", "--",
    ]  # fmt: skip
    resources = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}
    main = {
        "name": "main",
        "image": f"registry.example.org/concrete-crack/{'x' * 20}@sha256:{'0' * 64}",
        "command": launcher,
        "args": [*container["command"], *container["args"]],
        "resources": {"limits": resources},
        "volumeMounts": [
            *({"name": each["volumeName"], "mountPath": each["mountPath"]} for each in folders),
            *({"name": each["secretName"], "mountPath": each["mountPath"]} for each in secrets),
        ],
        "securityContext": pod["securityContext"] | {"allowPrivilegeEscalation": False, "capabilities": ["ALL"]},
    }
    return {
        "containers": [main],
        "volumes": [
            *({"name": each["volumeName"], "emptyDir": {"sizeLimit": "100Gi"}} for each in folders),
            *(
                {"name": each["secretName"], "secret": {"secretName": each["secretName"], "optional": False}}
                for each in secrets
            ),
        ],
        "tolerations": pod.get("tolerations", []),
        "activeDeadlineSeconds": 86_400,
    }


def status_size(spec: dict, pods: dict) -> int:
    """Bytes of the nodes in a run's status at the end of a run whose first candidate wins."""
    total = 0
    for graph in [spec["root"], *spec["components"].values()]:
        for key, task in graph.get("dag", {}).get("tasks", {}).items():
            component = spec["components"][task["componentRef"]["name"]]
            driver = length_as_text(component) + length_as_text(task)
            if "executorLabel" not in component:  # a graph: its driver and itself
                total += NODES_OF_A_DRIVER * (driver + 2 * NODE_ITSELF)
                continue
            if key.startswith(("register-", "refuse")):
                continue
            label = component["executorLabel"]
            container, pod = spec["deploymentSpec"]["executors"][label]["container"], pods[label]
            driver += length_as_text(container) + length_as_text(pod)
            patch = length_as_text(pod_patch(task, with_logs(component), container, pod))
            total += NODES_OF_A_DRIVER * driver + NODES_OF_A_STEP * (patch + NODE_ITSELF) + 4 * LOGS
    return total


@pytest.mark.parametrize(("candidates", "largest"), [(2, LARGEST_STATUS), (4, 1.45 * 2**20)])
def test_a_run_s_status_stays_small(tmp_path, candidates, largest):
    size = status_size(*compiled(tmp_path, candidates))
    print(f"{candidates} candidates: {size / 2**20:.2f} MiB")
    assert size < largest


def test_a_step_s_command_names_its_function_and_nothing_is_described(tmp_path):
    spec, _ = compiled(tmp_path)
    commands = {name: each["container"]["command"] for name, each in spec["deploymentSpec"]["executors"].items()}
    assert commands["exec-champion"][2:4] == ["components.step_process", "predict"]
    assert commands["exec-refuse"][2:4] == ["components.step_process", "register"]
    for name, command in commands.items():
        assert len(command) == 5, name
        assert (ROOT / "components" / command[3] / "component.py").is_file(), name
    for component in [spec["root"], *spec["components"].values()]:
        assert '"description"' not in json.dumps(component)


def test_a_step_s_configuration_becomes_json_and_no_output_describes_its_storage(tmp_path):
    spec, _ = compiled(tmp_path)
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    config = tasks["train-2"]["inputs"]["parameters"]["config"]["runtimeValue"]["constant"]
    assert '"' not in config
    artifacts = {"page": {"artifacts": [{"name": "page", "uri": "minio://x", "metadata": {"digest": "1"}}]}}
    inputs = {"parameterValues": {"config": config}}
    message = json.dumps({"inputs": inputs, "outputs": {"artifacts": artifacts}})
    code = "import sys; from components.step_process import _prepare; print(_prepare(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, message], cwd=ROOT, capture_output=True, text=True, check=True)
    prepared = json.loads(done.stdout)
    expected = load_run_config(PROD).step_json("train", "vit_b16")
    assert json.loads(prepared["inputs"]["parameterValues"]["config"]) == json.loads(expected)
    (page,) = prepared["outputs"]["artifacts"]["page"]["artifacts"]
    assert page["metadata"] == {"digest": "1", "store_session_info": ""}


def test_a_step_runs_from_its_compiled_command(tmp_path, s3):
    spec, _ = compiled(tmp_path)
    container = spec["deploymentSpec"]["executors"]["exec-refuse"]["container"]
    (tmp_path / "choice").write_text('{"winner": "", "rule": "none", "reasoning": "nobody passed"}')
    choice = {"type": {"schemaTitle": "system.Artifact"}, "name": "choice", "uri": str(tmp_path / "choice")}
    message = {
        "inputs": {
            "parameterValues": {"config": json.dumps({"store": s3}), "job": "job-1"},
            "artifacts": {"choice": {"artifacts": [choice]}},
        },
        "outputs": {
            "parameters": {"Output": {"outputFile": str(tmp_path / "Output")}},
            "outputFile": str(tmp_path / "outputs.json"),
        },
    }
    command = [part.replace("{{$}}", json.dumps(message)) for part in [*container["command"], *container["args"]]]
    command[0] = sys.executable
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    returned = json.loads((tmp_path / "outputs.json").read_text())["parameterValues"]["Output"]
    assert "nobody passed" in returned
