"""The compiled drift check, read from its YAML as a cluster reads it."""

from pathlib import Path

import pytest
import yaml

from pipelines.config.parameter_file import load_run_config
from pipelines.graphs.compile import compile_pipeline

PROD = Path(__file__).parents[3] / "pipelines" / "params" / "prod.yaml"


@pytest.mark.parametrize("start", [False, True])
def test_a_training_is_started_only_where_the_parameter_allows_it(tmp_path, start):
    config = load_run_config(PROD, [f"retrain.start={str(start).lower()}"])
    compile_pipeline("crack-drift-check", config, tmp_path / "p.yaml")
    spec, platform = yaml.load_all((tmp_path / "p.yaml").read_text(), yaml.CSafeLoader)
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"images", "seed"}
    executors = {name.removeprefix("exec-") for name in spec["deploymentSpec"]["executors"]}
    assert executors == {"collect", "check", "notify"} | ({"retrain"} if start else set())
    asked = [task for graph in spec["components"].values() for task in graph.get("dag", {}).get("tasks", {}).values()]
    conditions = [task["triggerPolicy"]["condition"] for task in asked if "condition" in task.get("triggerPolicy", {})]
    assert [condition.rpartition(" == ")[2] for condition in conditions] == ["'retrain'"] * start
    accelerated = [
        name
        for name, executor in spec["deploymentSpec"]["executors"].items()
        if "accelerator" in executor["container"]["resources"]
    ]
    assert accelerated == ["exec-collect"]
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name in ("collect", "check"):
        secrets = {secret["secretName"] for secret in settings[f"exec-{name}"]["secretAsVolume"]}
        assert secrets >= {"crack-s3", "crack-mlflow"}


def test_what_is_told_of_the_images_is_where_they_were_found(tmp_path):
    """If the text still contained {yesterday}, the verdicts of all days would seem to be about the same folder."""
    compile_pipeline("crack-drift-check", load_run_config(PROD), tmp_path / "p.yaml")
    spec = next(yaml.load_all((tmp_path / "p.yaml").read_text(), yaml.CSafeLoader))
    tasks = next(c["dag"]["tasks"] for c in spec["components"].values() if "check" in c.get("dag", {}).get("tasks", {}))
    given = tasks["check"]["inputs"]["parameters"]["images"]
    assert given["taskOutputParameter"] == {"outputParameterKey": "images", "producerTask": "collect"}
