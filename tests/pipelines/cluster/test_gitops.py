"""The Kubernetes resources of a pipeline have the same content as the version that `submit` uploads."""

import yaml
from typer.testing import CliRunner

from pipelines.cli.main import app


def test_the_resources_hold_the_version_that_submit_uploads(compiled, small, tmp_path):
    file, version = tmp_path / "new" / "m.yaml", compiled.version
    options = ["--params", str(small), "--output", str(file), "--namespace", "team", "--revision", "0123456789ab"]
    done = CliRunner().invoke(app, ["manifest", *options, "--allow-tags"])
    assert (done.exit_code, done.output) == (0, f"{file}: crack-training version {version}\n")
    pipeline, pinned = yaml.load_all(file.read_text(), yaml.CSafeLoader)
    assert (pipeline["kind"], pinned["kind"]) == ("Pipeline", "PipelineVersion")
    assert {resource["metadata"]["namespace"] for resource in (pipeline, pinned)} == {"team"}
    assert pinned["metadata"]["name"] == f"crack-training-{version}"
    assert pinned["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "crack-training"
    spec, platform = yaml.load_all(compiled.file.read_text(), yaml.CSafeLoader)
    assert (pinned["spec"]["pipelineSpec"], pinned["spec"]["platformSpec"]) == (spec, platform)
