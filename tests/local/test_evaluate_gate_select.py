"""Run evaluate, gate and select as one local pipeline, with a good and a bad candidate and without a champion."""

import json
from pathlib import Path

import mlflow
import pytest
from kfp import dsl, local

from components.evaluate.component import evaluate
from components.evaluate.config import EvaluateConfig
from components.gate.component import gate
from components.gate.config import GateConfig, Limit
from components.select.component import select
from components.select.config import SelectConfig
from components.shared.results.dossier import read_test_answers
from components.shared.results.measurements import read_measurements
from components.shared.results.slices import Slice
from components.shared.services.records import read_record
from components.shared.services.store import Store
from tests.mlflow_store import new_mlflow_store

SKILLS = {"good": 6.0, "bad": 0.2}


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def draw_predictions(skill: float, images: int, predictions: dsl.Output[dsl.Dataset]):
    """Write the predictions of a network with the given skill. With 0 images, write empty predictions."""
    import numpy as np
    import pandas as pd

    from components.shared.hashing import bytes_digest, digest
    from components.shared.results.predictions import empty_predictions, write_predictions
    from tests.tiny_version import tile

    rng = np.random.default_rng(7)
    test_ids = [bytes_digest(tile(0, i)) for i in range(images)]
    parts = []
    for condition in ("before", "after"):
        for split in ("val", "test", "robustness"):
            label = np.arange(images) % 2
            parts.append(
                pd.DataFrame(
                    {
                        "sample_id": test_ids if split == "test" else [digest(split, i) for i in range(images)],
                        "split": split,
                        "group_id": [f"{split}{i // 4}" for i in range(images)],
                        "source": "drawn",
                        "surface": ["wall" if i % 3 else "deck" for i in range(images)],
                        "label": label,
                        "condition": condition,
                        "corruption": "clean",
                        "severity": 0,
                        "logit_0": 0.0,
                        "logit_1": rng.normal(size=images) + (condition == "after") * skill * (label - 0.5),
                    }
                )
            )

    table = pd.concat(parts) if images else empty_predictions().table
    write_predictions(table, np.zeros((int((table["condition"] == "after").sum()), 2)), predictions.path)


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def draw_tiles(store: str, images: int, manifest: dsl.Output[dsl.Dataset]):
    """Store the test tiles of `draw_predictions`, and write their manifest."""
    import os
    from pathlib import Path

    import pandas as pd

    from components.shared.data.manifest import MANIFEST_SCHEMA, make_manifest, write_manifest
    from components.shared.data.shards import Member
    from components.shared.data.versions import put_images
    from components.shared.hashing import bytes_digest
    from components.shared.services.store import Store
    from tests.tiny_version import tile

    tiles = [tile(0, i) for i in range(images)]
    members = [Member(bytes_digest(data), data, ".png") for data in tiles]
    places, _ = put_images(Store(store), members, Path(os.environ["TMPDIR"]) / "shards")
    row = dict.fromkeys(MANIFEST_SCHEMA.names) | {"path": "a.png", "source": "drawn", "surface": "wall"}
    row |= {"group_id": "photo", "width": 48, "height": 48, "phash": "0" * 16}
    rows = [{**row, **vars(place), "label": number % 2} for number, place in enumerate(places)]
    write_manifest(make_manifest(pd.DataFrame(rows)), manifest.path)


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def draw_nothing(measurements: dsl.Output[dsl.Dataset], page: dsl.Output[dsl.HTML]):
    """An empty measurements table and a page."""
    from pathlib import Path

    from components.shared.results.measurements import write_measurements

    write_measurements([], measurements.path)
    Path(page.path).write_text("<main>nothing</main>")


@pytest.fixture
def outputs(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the pipeline; yields the folder that holds one folder per task."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    mlflow.MlflowClient().create_experiment("crack-training", artifact_location=str(tmp_path / "mlflow"))

    @dsl.pipeline(name="judging")
    def judging():
        champion = draw_predictions(skill=0.0, images=0)
        dossiers = []
        for name, skill in SKILLS.items():
            common = {"store": s3, "candidate": name}

            scored = draw_predictions(skill=skill, images=200)
            nothing = draw_nothing()

            evaluated = evaluate(
                predictions=scored.output, config=EvaluateConfig(**common, resamples=200).model_dump_json(), job="job-1"
            ).set_display_name(f"evaluate {name}")

            on_decks = Limit(name="accuracy", slice=Slice.of(surface="deck"), limit=0.8)
            limits = (Limit(name="auroc", limit=0.9, on="low"), on_decks)

            gated = gate(
                evaluation=evaluated.outputs["measurements"],
                explanation=nothing.outputs["measurements"],
                drift=nothing.outputs["measurements"],
                calibration=evaluated.outputs["calibration"],
                training_page=evaluated.outputs["page"],
                evaluation_page=evaluated.outputs["page"],
                explanation_page=nothing.outputs["page"],
                drift_page=nothing.outputs["page"],
                reference_profile=nothing.outputs["measurements"],
                overlays=nothing.outputs["measurements"],
                manifest=draw_tiles(store=s3, images=200).output,
                predictions=scored.output,
                champion=champion.output,
                config=GateConfig(**common, limits=limits).model_dump_json(),
                job="job-1",
            )

            dossiers.append(gated.outputs["dossier"])

        select(first=dossiers[1], second=dossiers[0], config=SelectConfig(store=s3).model_dump_json(), job="job-1")

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    judging()
    return next((tmp_path / "root").iterdir())


def test_the_good_candidate_wins_and_the_bad_one_is_refused_with_reasons(outputs: Path, s3: str) -> None:
    choice = json.loads((outputs / "select" / "choice").read_text())
    assert choice["winner"] == "good"
    assert choice["candidates"] == {"bad": False, "good": True}
    assert read_record(Store(s3), "runs/job-1/choice.json", dict, "") == choice

    refused = json.loads((outputs / "gate-2" / "dossier" / "verdict.json").read_text())
    assert (refused["candidate"], refused["passed"]) == ("bad", False)
    assert "but must be at least 0.9" in refused["rows"][0]["why"]
    assert refused["champion"]["verdict"] == "no champion"

    dossier = outputs / "gate" / "dossier"
    assert {path.name for path in dossier.iterdir()} == {
        "verdict.json",
        "measurements.parquet",
        "test_answers.parquet",
        "calibration.json",
        "reference_profile.parquet",
        "panels",
        "promotion.html",
        "training.html",
        "evaluation.html",
        "explanation.html",
        "drift.html",
    }
    assert read_measurements(dossier / "measurements.parquet").where(slice=Slice.of(surface="wall"))

    answers = read_test_answers(outputs / "gate-2" / "dossier")
    wrong = answers[answers["crack"] != answers["label"]]
    assert len(answers) == 200
    images = wrong["image"].notna().groupby(wrong["label"]).sum()
    assert images.to_dict() == wrong["label"].value_counts().clip(upper=12).to_dict()

    (run,) = mlflow.MlflowClient().search_runs(["1"], "tags.gate = 'refused'")
    assert run.data.tags["crack.candidate"] == "bad"
    assert run.data.metrics["test_auroc"] < 0.9
