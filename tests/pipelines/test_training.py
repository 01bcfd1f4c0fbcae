"""What the compiled pipeline says, read from its YAML as the cluster would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.shared.runtime import InputError
from pipelines.run_config import load_run_config
from pipelines.training import compile_pipeline

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "pipelines" / "params"
GPU_STEPS = ("train", "predict", "explain")


def compiled(path: Path, output: Path) -> tuple[dict, dict]:
    """The pipeline's and the platform's document."""
    compile_pipeline(load_run_config(path), output)
    spec, *platform = yaml.safe_load_all(output.read_text())
    return spec, platform[0] if platform else {}


@pytest.fixture(scope="module", params=["local", "dev", "paper", "prod"])
def pipeline(request, tmp_path_factory):
    return compiled(PARAMS / f"{request.param}.yaml", tmp_path_factory.mktemp("compiled") / "p.yaml")


def executors(spec: dict) -> dict[str, dict]:
    return {
        name.removeprefix("exec-"): executor["container"]
        for name, executor in spec["deploymentSpec"]["executors"].items()
    }


def tasks(spec: dict) -> dict[str, dict]:
    """Every task of every nested graph, by its display name where it has one."""
    graphs = [spec["root"], *spec["components"].values()]
    found = [task for graph in graphs for task in graph.get("dag", {}).get("tasks", {}).values()]
    return {task["taskInfo"]["name"]: task for task in found}


def test_run_time_parameters_are_exactly_three(pipeline):
    spec, _ = pipeline
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"data_uri", "seed", "run_note"}


def test_branches_are_unrolled_and_named_by_candidate(pipeline):
    spec, _ = pipeline
    names = set(tasks(spec))
    branches = {name.removeprefix("train ") for name in names if name.startswith("train ")}
    assert len(branches) == 2
    for step in ("train", "predict", "evaluate", "explain", "drift", "gate"):
        assert {f"{step} {branch}" for branch in branches} <= names


def test_nothing_is_installed_when_a_step_starts(pipeline):
    spec, _ = pipeline
    for name, container in executors(spec).items():
        assert "pip install" not in " ".join(container["command"] + container["args"]), name


def test_the_cache_of_kfp_is_off(pipeline):
    spec, _ = pipeline
    for name, task in tasks(spec).items():
        if (
            task["componentRef"]["name"].startswith("comp-")
            and "exec-" + task["componentRef"]["name"][5:] in (spec["deploymentSpec"]["executors"])
        ):
            assert task["cachingOptions"] == {}, name


def test_only_steps_that_run_the_network_ask_for_an_accelerator(pipeline):
    spec, _ = pipeline
    for name, container in executors(spec).items():
        wants = "accelerator" in container["resources"]
        assert wants == name.rstrip("-0123456789").startswith(GPU_STEPS), name
        assert container["resources"]["memoryLimit"], name


def test_every_step_gets_the_store_and_only_some_the_tracking_server(pipeline):
    spec, platform = pipeline
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    mlflow = set()
    for name in spec["deploymentSpec"]["executors"]:
        secrets = {secret["secretName"] for secret in settings[name]["secretAsEnv"]}
        assert "crack-s3" in secrets, name
        if "crack-mlflow" in secrets:
            mlflow.add(name.removeprefix("exec-").rstrip("-0123456789"))
    assert mlflow == {"champion", "train", "gate", "register", "notify"}


def test_the_same_parameters_give_the_same_bytes_in_any_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pipelines.run_config import load_run_config as load;"
        "from pipelines.training import compile_pipeline as c; c(load(sys.argv[1]), Path(sys.argv[2]))"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(PARAMS / "local.yaml"), str(tmp_path / f"{seed}.yaml")]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed})
    assert (tmp_path / "1.yaml").read_bytes() == (tmp_path / "2.yaml").read_bytes()


@pytest.mark.parametrize("count", [1, 4])
def test_one_to_four_candidates_compile(tmp_path, count):
    candidates = "".join(
        f"  net{number}:\n    train: {{architecture: resnet18, weights: none, steps: 5}}\n" for number in range(count)
    )
    (tmp_path / "p.yaml").write_text(f"candidates:\n{candidates}")
    spec, _ = compiled(tmp_path / "p.yaml", tmp_path / "out.yaml")
    assert len([name for name in tasks(spec) if name.startswith("train ")]) == count


def test_a_fifth_candidate_is_refused(tmp_path):
    candidates = "".join(f"  n{number}: {{train: {{architecture: resnet18, steps: 5}}}}\n" for number in range(5))
    (tmp_path / "p.yaml").write_text(f"candidates:\n{candidates}")
    with pytest.raises(InputError, match=r"candidates.*at most 4"):
        load_run_config(tmp_path / "p.yaml")
