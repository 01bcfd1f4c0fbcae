"""The workflow files: nothing that is not pinned, no more rights than needed, no target that the Makefile lacks."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def workflow(request) -> dict:
    return yaml.safe_load(request.param.read_text())


def test_there_is_one_for_changes_one_for_a_real_cluster_and_one_for_releases():
    triggers = {path.name: yaml.safe_load(path.read_text())[True] for path in FILES}  # YAML 1.1 reads "on" as true
    assert "pull_request" in triggers["ci.yml"]
    assert set(triggers["cluster.yml"]) == {"schedule", "workflow_dispatch", "pull_request"}
    assert {"pipelines/**", "images/**", "manifests/**"} <= set(triggers["cluster.yml"]["pull_request"]["paths"])
    assert triggers["release.yml"] == {"release": {"types": ["published"]}}


def test_actions_are_pinned_by_commit_and_leave_no_credentials_behind(workflow):
    used = [step for step in steps(workflow) if "uses" in step]
    assert used
    for step in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_a_pin_tells_people_its_version():
    pins = [line for path in FILES for line in path.read_text().splitlines() if "uses:" in line]
    assert [line for line in pins if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_rights_are_the_least_and_every_job_ends(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 360, name
        assert set(job.get("permissions", {}).items()) <= {("contents", "read"), ("packages", "write")}, name


def test_what_comes_from_outside_reaches_the_shell_by_environment_alone(workflow):
    assert [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")] == []


def test_every_target_and_variable_is_the_makefiles(workflow):
    makefile = (ROOT / "Makefile").read_text()
    calls = re.findall(
        r"\bmake ([a-z-]+)((?: [A-Z_]+=\S+)*)", "\n".join(step.get("run", "") for step in steps(workflow))
    )
    assert calls
    for target, variables in calls:
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), target
        for name in re.findall(r"([A-Z_]+)=", variables):
            assert f"$({name})" in makefile, name


def test_the_cluster_is_pinned_and_proves_both_modes_of_kfp():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "cluster.yml").read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+", workflow["env"]["KFP_VERSION"])
    assert re.fullmatch(r"[0-9a-f]{40}", workflow["env"]["ISTIO_COMMIT"])
    (job,) = workflow["jobs"].values()
    assert job["strategy"]["matrix"]["mode"] == ["single-user", "multi-user"]
    (kind,) = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("helm/kind-action@")]
    assert re.fullmatch(r"kindest/node:v[\d.]+@sha256:[0-9a-f]{64}", kind["node_image"])
    assert re.fullmatch(r"v[\d.]+", kind["version"])
    kept = [step for step in job["steps"] if step.get("if") == "failure()"]
    assert any("kind export logs" in step.get("run", "") for step in kept)
    assert any(step.get("uses", "").startswith("actions/upload-artifact@") for step in kept)


def test_a_release_submits_with_the_images_it_pushed():
    commands = [step.get("run", "") for step in steps(yaml.safe_load((FILES[-1]).read_text()))]
    pushed, submitted = (next(i for i, run in enumerate(commands) if want in run) for want in ("images-push", "submit"))
    assert pushed < submitted
    assert "WAIT=1" in commands[submitted]
