"""The compiled pipeline, read from its YAML as a cluster reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.shared.errors import InputError
from pipelines.config.parameter_file import load_run_config
from pipelines.graphs.compile import compile_pipeline

ROOT = Path(__file__).parents[3]
PARAMS = ROOT / "pipelines" / "params"


def compiled(path: Path, output: Path) -> dict:
    """Return the first YAML document, the pipeline. test_pod_policy.py reads the second one, for the platform."""
    compile_pipeline("crack-training", load_run_config(path), output)
    return next(yaml.load_all(output.read_text(), yaml.CSafeLoader))


@pytest.fixture(scope="module", params=["local", "dev", "paper", "paper_as_run", "prod"])
def pipeline(request, tmp_path_factory):
    return compiled(PARAMS / f"{request.param}.yaml", tmp_path_factory.mktemp("compiled") / "p.yaml")


def tasks(spec: dict) -> dict[str, dict]:
    """Every task of every nested graph, by its display name where it has one."""
    graphs = [spec["root"], *spec["components"].values()]
    found = [task for graph in graphs for task in graph.get("dag", {}).get("tasks", {}).values()]
    return {task["taskInfo"]["name"]: task for task in found}


def test_run_time_parameters_are_exactly_three(pipeline):
    assert set(pipeline["root"]["inputDefinitions"]["parameters"]) == {"data_uri", "seed", "run_note"}


def test_branches_are_unrolled_and_named_by_candidate(pipeline):
    names = set(tasks(pipeline))
    branches = {name.removeprefix("train ") for name in names if name.startswith("train ")}
    assert len(branches) == 2
    for step in ("train", "predict", "evaluate", "explain", "drift", "gate"):
        assert {f"{step} {branch}" for branch in branches} <= names


def test_the_same_parameters_give_the_same_bytes_in_any_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pipelines.config.parameter_file import load_run_config as load;"
        "from pipelines.graphs.compile import compile_pipeline;"
        "compile_pipeline('crack-training', load(sys.argv[1]), Path(sys.argv[2]))"
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
    spec = compiled(tmp_path / "p.yaml", tmp_path / "out.yaml")
    assert len([name for name in tasks(spec) if name.startswith("train ")]) == count


def test_a_fifth_candidate_is_refused(tmp_path):
    candidates = "".join(f"  n{number}: {{train: {{architecture: resnet18, steps: 5}}}}\n" for number in range(5))
    (tmp_path / "p.yaml").write_text(f"candidates:\n{candidates}")
    with pytest.raises(InputError, match=r"candidates.*at most 4"):
        load_run_config(tmp_path / "p.yaml")
