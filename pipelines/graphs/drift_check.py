"""Build the graph of `crack-drift-check`, which compares production images with the champion's training sample."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.collect.component import collect
from components.drift.component import check
from components.notify.component import notify
from components.retrain.component import retrain
from pipelines.config.run_config import RunConfig
from pipelines.graphs.pod_policy import on_cluster, run_limits

JOB = dsl.PIPELINE_JOB_ID_PLACEHOLDER


def build_pipeline(config: RunConfig) -> BaseComponent:
    """Return the pipeline. Everything is fixed except `images` and `seed`."""

    @dsl.pipeline(
        name="crack-drift-check",
        description="Compare production images with the champion's training sample, and report whether to retrain",
        pipeline_config=run_limits(config.cluster),
    )
    def crack_drift_check(images: str = config.images, seed: int = config.seed) -> None:
        done = on_cluster(notify(config=config.step_json("notify"), job=JOB), config)
        with dsl.ExitHandler(done, name="run"):
            seen = collect(images=images, config=config.step_json("collect"), job=JOB)
            on_cluster(seen, config, config.cluster.collect)

            verdict = check(
                reference=seen.outputs["reference"],
                observed=seen.outputs["observed"],
                images=seen.outputs["images"],
                version=seen.outputs["version"],
                config=config.step_json("drift"),
                seed=seed,
                job=JOB,
            )
            on_cluster(verdict, config)

            if config.retrain.start:
                with dsl.If(verdict.outputs["Output"] == "retrain", name="drifted"):
                    started = retrain(verdict=verdict.outputs["summary"], config=config.step_json("retrain"), job=JOB)
                    on_cluster(started, config)

    return crack_drift_check
