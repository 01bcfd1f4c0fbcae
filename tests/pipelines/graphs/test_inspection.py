"""The compiled inspection, read from its YAML as a cluster reads it."""

from pathlib import Path

import yaml

from pipelines.config.parameter_file import load_run_config
from pipelines.graphs.compile import compile_pipeline

PROD = Path(__file__).parents[3] / "pipelines" / "params" / "prod.yaml"


def test_each_share_is_a_pod_and_the_last_step_waits_for_all(tmp_path):
    config = load_run_config(PROD, ["inspect.shares=3", "inspect.scale=0.5", "cluster.inspect.accelerators=0"])
    compile_pipeline("crack-inspection", config, tmp_path / "p.yaml")
    spec, platform = yaml.safe_load_all((tmp_path / "p.yaml").read_text())
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"photos"}

    (tasks,) = [c["dag"]["tasks"] for c in spec["components"].values() if "join" in c.get("dag", {}).get("tasks", {})]
    shares = {name: task for name, task in tasks.items() if name.startswith("inspect")}
    constants = [task["inputs"]["parameters"]["share"]["runtimeValue"]["constant"] for task in shares.values()]
    assert sorted(constants) == [1, 2, 3]
    assert sorted(task["taskInfo"]["name"] for task in shares.values()) == ["inspect 1", "inspect 2", "inspect 3"]
    assert set(tasks["join"]["dependentTasks"]) == {"plan", *shares}

    assert not any("accelerator" in e["container"]["resources"] for e in spec["deploymentSpec"]["executors"].values())
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name in ("plan", "inspect", "join"):
        secrets = {secret["secretName"] for secret in settings[f"exec-{name}"]["secretAsVolume"]}
        assert secrets == {"crack-s3", "crack-mlflow"}
