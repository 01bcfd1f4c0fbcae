"""Run report and notify as local pipelines: from dossiers to the page, and from a failing step to the webhook."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from kfp import dsl, local
from mlflow.tracking import MlflowClient

from components.notify.component import notify
from components.notify.config import NotifyConfig
from components.report.component import report
from components.report.config import ReportConfig
from tests.mlflow_store import new_mlflow_store


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def draw_findings(
    manifest: dsl.Output[dsl.Dataset], page: dsl.Output[dsl.HTML], choice: dsl.Output[dsl.Artifact]
) -> str:
    """A manifest of two tiles, a page, a choice, and the record of a refusal that contains quotes and line breaks."""
    import json
    from pathlib import Path

    import pandas as pd

    from components.shared.data.manifest import MANIFEST_SCHEMA, make_manifest, write_manifest
    from components.shared.page import Page

    row = dict.fromkeys(MANIFEST_SCHEMA.names)
    row |= {"path": "a.png", "source": "drawn", "surface": "wall", "group_id": "p", "phash": "0" * 16}
    row |= {"width": 8, "height": 8, "shard": "00000.tar", "offset": 512, "size": 99}
    rows = [{**row, "sample_id": str(label) * 64, "label": label} for label in (0, 1)]
    write_manifest(make_manifest(pd.DataFrame(rows)), manifest.path)
    Page("about the data").write(page.path)
    decided = {
        "winner": None,
        "rule": "the highest AUROC",
        "reasoning": "No candidate passed its gate.",
        "candidates": {"cnn": False},
    }
    Path(choice.path).write_text(json.dumps(decided))
    return json.dumps({"registered": False, "reasons": ['accuracy is "low"\nby far']})


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def draw_dossier(candidate: str, dossier: dsl.Output[dsl.Artifact]):
    """A refused candidate's dossier with one measurement, one answer and one page."""
    import json
    from pathlib import Path

    import pandas as pd

    from components.shared.page import Page
    from components.shared.results.calibration import Calibration, write_calibration
    from components.shared.results.measurements import Measurement, write_measurements

    folder = Path(dossier.path)
    folder.mkdir(parents=True)
    champion = {"text": "There is no champion yet."}
    verdict = {"candidate": candidate, "passed": False, "rows": [], "champion": champion}
    (folder / "verdict.json").write_text(json.dumps(verdict))
    write_calibration(Calibration(), folder / "calibration.json")
    answer = {"label": 1, "p_crack": 0.9, "crack": True, "image": None, "group_id": "p"}
    pd.DataFrame([answer]).to_parquet(folder / "test_answers.parquet", index=False)
    write_measurements([Measurement("accuracy", 0.75)], folder / "measurements.parquet")
    Page("an evaluation").write(folder / "evaluation.html")


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def stumble(store: str, job: str):
    """A step that fails because of a wrong input."""
    from components.shared.errors import InputError
    from components.shared.step import step

    with step("ingest", job, store):
        raise InputError("the folder has no images; name another folder")


@pytest.fixture
def root(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sets the local runner up; returns its output folder."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict]]:
    """The messages that a webhook on the loopback interface received."""
    received: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/hook")
    yield received
    server.shutdown()
    server.server_close()


def test_the_report_is_written_from_two_of_four_slots_and_kept_in_mlflow(
    root: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = new_mlflow_store(root.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    client = MlflowClient(tracking)
    experiment = client.create_experiment("crack-training", artifact_location=f"{s3}/mlflow")

    @dsl.pipeline(name="reporting")
    def reporting():
        found = draw_findings()
        report(
            manifest=found.outputs["manifest"],
            data_page=found.outputs["page"],
            split_page=found.outputs["page"],
            first=draw_dossier(candidate="cnn").output,
            second=draw_dossier(candidate="vit").output,
            choice=found.outputs["choice"],
            registration=found.outputs["Output"],
            data_uri="synthetic://?images=2&seed=1",
            seed=5,
            run_note='a "note" & more',
            config=ReportConfig(store=s3).model_dump_json(),
            job="7",
        )

    reporting()
    outputs = next(root.iterdir()) / "report"
    summary = json.loads((outputs / "summary").read_text())
    assert list(summary["candidates"]) == ["cnn", "vit"]
    assert summary["candidates"]["vit"]["test"] == {"accuracy": 0.75}
    assert (summary["images"], summary["seed"], summary["winner"]) == (2, 5, None)
    assert len(summary["dataset_digest"]) == 64
    page = (outputs / "page").read_text()
    assert "No candidate passed" in page
    assert "a &quot;note&quot; &amp; more" in page
    (run,) = client.search_runs([experiment])
    assert run.data.tags["mlflow.note.content"] == "\n\n".join(
        ("No candidate passed; nothing was registered", "No candidate passed its gate.", 'a "note" & more')
    )
    assert Path(client.download_artifacts(run.info.run_id, "report.html")).read_text() == page


def test_a_failing_step_and_its_cause_reach_the_webhook(root: Path, s3: str, posted: list[dict]) -> None:
    @dsl.pipeline(name="failing")
    def failing():
        done = notify(
            config=NotifyConfig(store=s3, link="https://kfp.example/{job}").model_dump_json(),
            job=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        )
        with dsl.ExitHandler(done):
            stumble(store=s3, job=dsl.PIPELINE_JOB_ID_PLACEHOLDER)

    with pytest.raises(RuntimeError):
        failing()
    (message,) = posted
    state, cause, link = message["text"].splitlines()
    assert state.startswith("❌ crack-training, job ")
    assert state.endswith(": failed")
    assert cause == "Step ingest: the folder has no images; name another folder"
    assert link.startswith("https://kfp.example/")
    assert link.removeprefix("https://kfp.example/") in state


def test_a_successful_run_reaches_the_webhook_too(root: Path, s3: str, posted: list[dict]) -> None:
    @dsl.pipeline(name="succeeding")
    def succeeding():
        with dsl.ExitHandler(notify(config=NotifyConfig(store=s3).model_dump_json(), job="7")):
            draw_dossier(candidate="cnn")

    succeeding()
    assert [message["text"] for message in posted] == ["✅ crack-training, job 7: succeeded"]
