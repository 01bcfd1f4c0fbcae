"""Build the graph of `crack-training`.

Each candidate has its own branch of tasks. We do not use KFP's loop over the candidates. With branches, each task has a
name in the UI, and the resources can depend on the architecture. KFP's backend also fails on a loop inside an exit
handler (kubeflow/pipelines#12390).
"""

from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask
from kfp.dsl.base_component import BaseComponent

from components.drift.component import drift
from components.evaluate.component import evaluate
from components.explain.component import explain
from components.gate.component import gate
from components.ingest.component import ingest
from components.notify.component import notify
from components.predict.component import champion, predict
from components.register.component import refuse, register
from components.report.component import report
from components.select.component import select
from components.split.component import split
from components.train.component import train
from pipelines.config.cluster_config import GpuResources
from pipelines.config.run_config import RunConfig
from pipelines.graphs.pod_policy import on_cluster, run_limits

# The steps select and report have one input for each dossier, because KFP cannot pass a list of artifacts to a step.
DOSSIER_INPUTS = ("first", "second", "third", "fourth")
JOB = dsl.PIPELINE_JOB_ID_PLACEHOLDER


@dataclass(frozen=True)
class Data:
    """The artifacts that all branches share.

    Attributes:
        tiles: The artifacts `manifest` and `splits`, which most steps read.
        champion: The champion's predictions.
    """

    tiles: dict[str, Any]
    champion: Any


@dataclass(frozen=True)
class Branch:
    """Three tasks of one candidate. Later tasks use the outputs of these three."""

    trained: PipelineTask
    predicted: PipelineTask
    judged: PipelineTask


def build_pipeline(config: RunConfig) -> BaseComponent:
    """Return the pipeline. Everything is fixed except `data_uri`, `seed` and `run_note`."""

    @dsl.pipeline(
        name="crack-training",
        description="Train, evaluate, explain, gate and register crack classifiers",
        pipeline_config=run_limits(config.cluster),
    )
    def crack_training(
        data_uri: str = config.data_uri, seed: int = config.seed, run_note: str = config.run_note
    ) -> None:
        done = on_cluster(notify(config=config.step_json("notify"), job=JOB), config)
        with dsl.ExitHandler(done, name="run"):
            ingested = on_cluster(ingest(data_uri=data_uri, config=config.step_json("ingest"), job=JOB), config)
            manifest = ingested.outputs["manifest"]

            parts = split(manifest=manifest, config=config.step_json("split"), seed=seed, job=JOB)
            on_cluster(parts, config)
            tiles = {"manifest": manifest, "splits": parts.outputs["splits"]}

            today = champion(**tiles, config=config.step_json("predict"), job=JOB)
            on_cluster(today, config, config.cluster.champion)

            data = Data(tiles, champion=today.outputs["predictions"])
            branches = {name: _branch(name, config, data, seed) for name in config.candidates}
            dossiers = {}
            for slot, branch in zip(DOSSIER_INPUTS, branches.values(), strict=False):
                dossiers[slot] = branch.judged.outputs["dossier"]

            choice = on_cluster(select(**dossiers, config=config.step_json("select"), job=JOB), config)
            registration = _register(config, data, branches, choice)

            document = report(
                manifest=manifest,
                data_page=ingested.outputs["page"],
                split_page=parts.outputs["page"],
                **dossiers,
                choice=choice.outputs["choice"],
                registration=registration,
                data_uri=data_uri,
                seed=seed,
                run_note=run_note,
                config=config.step_json("report"),
                job=JOB,
            )
            on_cluster(document, config)

    return crack_training


def _branch(name: str, config: RunConfig, data: Data, seed: Any) -> Branch:
    """Add the tasks of one candidate, from the training to the dossier."""
    resources = config.candidates[name].resources
    trained = train(**data.tiles, config=config.step_json("train", name), seed=seed, job=JOB)
    _place(trained, name, config, resources.train)
    model = trained.outputs["model"]

    predicted = predict(model=model, **data.tiles, config=config.step_json("predict", name), seed=seed, job=JOB)
    _place(predicted, name, config, resources.predict)
    predictions = predicted.outputs["predictions"]

    evaluated = evaluate(predictions=predictions, config=config.step_json("evaluate", name), job=JOB)
    _place(evaluated, name, config)
    calibration = evaluated.outputs["calibration"]

    explained = explain(
        model=model,
        **data.tiles,
        predictions=predictions,
        calibration=calibration,
        config=config.step_json("explain", name),
        seed=seed,
        job=JOB,
    )
    _place(explained, name, config, resources.explain)

    drifted = drift(
        model=model,
        **data.tiles,
        predictions=predictions,
        config=config.step_json("drift", name),
        seed=seed,
        job=JOB,
    )
    _place(drifted, name, config)

    judged = gate(
        evaluation=evaluated.outputs["measurements"],
        explanation=explained.outputs["measurements"],
        drift=drifted.outputs["measurements"],
        calibration=calibration,
        training_page=trained.outputs["page"],
        evaluation_page=evaluated.outputs["page"],
        explanation_page=explained.outputs["page"],
        drift_page=drifted.outputs["page"],
        reference_profile=drifted.outputs["reference_profile"],
        overlays=explained.outputs["overlays"],
        manifest=data.tiles["manifest"],
        predictions=predictions,
        champion=data.champion,
        config=config.step_json("gate", name),
        job=JOB,
    )
    _place(judged, name, config)
    return Branch(trained, predicted, judged)


def _place(task: PipelineTask, candidate: str, config: RunConfig, resources: GpuResources | None = None) -> None:
    """Give a candidate's task its display name, such as "train cnn", and set how it runs on Kubernetes."""
    task.set_display_name(f"{task.component_spec.name} {candidate}")
    on_cluster(task, config, resources)


def _register(config: RunConfig, data: Data, branches: dict[str, Branch], choice: PipelineTask) -> dsl.OneOf:
    """Add a register task for every candidate, and a refuse task. Only one of these tasks runs.

    Return the record of the task that runs. The record is a parameter and not an artifact, because KFP's local runner
    supports `dsl.OneOf` only for parameters.
    """
    records: list[Any] = []
    for name, branch in branches.items():
        condition = dsl.Elif if records else dsl.If
        with condition(choice.outputs["Output"] == name, name=f"winner {name}"):
            registered = register(
                model=branch.trained.outputs["model"],
                predictions=branch.predicted.outputs["predictions"],
                dossier=branch.judged.outputs["dossier"],
                **data.tiles,
                config=config.step_json("registration", name),
                job=JOB,
            )
            on_cluster(registered, config)
            records.append(registered.outputs["Output"])

    with dsl.Else(name="no winner"):
        refused = refuse(choice=choice.outputs["choice"], config=config.step_json("registration"), job=JOB)
        on_cluster(refused, config)
        records.append(refused.outputs["Output"])
    return dsl.OneOf(*records)
