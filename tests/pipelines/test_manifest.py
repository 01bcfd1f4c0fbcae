"""The Kubernetes resources of a pipeline say what the uploaded version says."""

import yaml

from pipelines.manifest import write_manifest


def test_the_resources_hold_the_version_that_submit_uploads(compiled, config, tmp_path):
    version = write_manifest("crack-training", config, "0123456789ab", "team", tmp_path / "m.yaml")
    pipeline, pinned = yaml.safe_load_all((tmp_path / "m.yaml").read_text())
    assert version == compiled.version
    assert (pipeline["kind"], pinned["kind"]) == ("Pipeline", "PipelineVersion")
    assert {resource["metadata"]["namespace"] for resource in (pipeline, pinned)} == {"team"}
    assert pinned["metadata"]["name"] == f"crack-training-{version}"
    assert pinned["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "crack-training"
    spec, platform = yaml.safe_load_all(compiled.file.read_text())
    assert (pinned["spec"]["pipelineSpec"], pinned["spec"]["platformSpec"]) == (spec, platform)
