"""The graph of `crack-training`, on one screen.

Branches are unrolled here, one per candidate: named nodes in the UI, resources per architecture, and no loop inside the
exit handler, which KFP's backend breaks on (kubeflow/pipelines#12390).
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
from pipelines.config.run_config import RunConfig
from pipelines.graphs.pod_policy import on_cluster, run_limits

SLOTS = ("first", "second", "third", "fourth")
JOB = dsl.PIPELINE_JOB_ID_PLACEHOLDER


@dataclass(frozen=True)
class Branch:
    """What a candidate's branch leaves for the steps behind it."""

    model: PipelineTask
    answers: PipelineTask
    dossier: PipelineTask


def build_pipeline(config: RunConfig) -> BaseComponent:
    """Return the pipeline with everything but `data_uri`, `seed` and `run_note` fixed."""

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
            data = on_cluster(ingest(data_uri=data_uri, config=config.step_json("ingest"), job=JOB), config)
            parts = split(manifest=data.outputs["manifest"], config=config.step_json("split"), seed=seed, job=JOB)
            on_cluster(parts, config)
            tiles = {"manifest": data.outputs["manifest"], "splits": parts.outputs["splits"]}
            today = champion(**tiles, config=config.step_json("predict"), job=JOB)
            on_cluster(today, config, config.cluster.champion)
            branches = {name: _branch(name, config, tiles, seed, today) for name in config.candidates}
            dossiers = {
                slot: branch.dossier.outputs["dossier"] for slot, branch in zip(SLOTS, branches.values(), strict=False)
            }
            choice = on_cluster(select(**dossiers, config=config.step_json("select"), job=JOB), config)
            registration = _register(config, tiles, branches, choice)
            pages = {"data_page": data.outputs["page"], "split_page": parts.outputs["page"]}
            facts = {"seed": seed, "run_note": run_note, "data_uri": data_uri, "config": config.step_json("report")}
            document = report(
                manifest=data.outputs["manifest"],
                **pages,
                **dossiers,
                choice=choice.outputs["choice"],
                registration=registration,
                **facts,
                job=JOB,
            )
            on_cluster(document, config)

    return crack_training


def _branch(name: str, config: RunConfig, tiles: dict, seed: int, today: PipelineTask) -> Branch:
    resources = config.candidates[name].resources
    common = {"job": JOB}

    def named(task: PipelineTask) -> PipelineTask:
        return task.set_display_name(f"{task.name.rstrip('-0123456789')} {name}")

    trained = named(train(**tiles, config=config.step_json("train", name), seed=seed, **common))
    on_cluster(trained, config, resources.train)
    model = {"model": trained.outputs["model"]}
    answers = named(predict(**model, **tiles, config=config.step_json("predict", name), seed=seed, **common))
    on_cluster(answers, config, resources.predict)
    predictions = {"predictions": answers.outputs["predictions"]}
    scores = named(evaluate(**predictions, config=config.step_json("evaluate", name), **common))
    on_cluster(scores, config)
    calibration = {"calibration": scores.outputs["calibration"]}
    explained = named(
        explain(
            **model,
            **tiles,
            **predictions,
            **calibration,
            config=config.step_json("explain", name),
            seed=seed,
            **common,
        )
    )
    on_cluster(explained, config, resources.explain)
    shift = named(drift(**model, **tiles, **predictions, config=config.step_json("drift", name), seed=seed, **common))
    on_cluster(shift, config)
    measured = {"evaluation": scores, "explanation": explained, "drift": shift}
    verdict = named(
        gate(
            **{name: task.outputs["measurements"] for name, task in measured.items()},
            **{f"{name}_page": task.outputs["page"] for name, task in {"training": trained, **measured}.items()},
            reference_profile=shift.outputs["reference_profile"],
            overlays=explained.outputs["overlays"],
            manifest=tiles["manifest"],
            **predictions,
            **calibration,
            champion=today.outputs["predictions"],
            config=config.step_json("gate", name),
            **common,
        )
    )
    on_cluster(verdict, config)
    return Branch(model=trained, answers=answers, dossier=verdict)


def _register(config: RunConfig, tiles: dict, branches: dict[str, Branch], choice: PipelineTask) -> dsl.OneOf:
    # a parameter, not an artifact: KFP's local runner cannot resolve OneOf of artifacts
    records: list[Any] = []
    for name, branch in branches.items():
        won = (dsl.Elif if records else dsl.If)(choice.outputs["Output"] == name, name=f"winner {name}")
        with won:
            registered = register(
                model=branch.model.outputs["model"],
                predictions=branch.answers.outputs["predictions"],
                dossier=branch.dossier.outputs["dossier"],
                **tiles,
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
