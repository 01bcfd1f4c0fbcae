"""Build the graph of `crack-inspection`, which finds cracks in whole photos. Several pods work at the same time."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.inspect.component import inspect, join, plan
from components.notify.component import notify
from pipelines.config.run_config import RunConfig
from pipelines.graphs.pod_policy import on_cluster, run_limits

JOB = dsl.PIPELINE_JOB_ID_PLACEHOLDER


def build_pipeline(config: RunConfig) -> BaseComponent:
    """Return the pipeline. Everything is fixed except `photos`."""

    @dsl.pipeline(
        name="crack-inspection",
        description="Find cracks in whole photos with the champion, and write findings, tables and a page to the store",
        pipeline_config=run_limits(config.cluster),
    )
    def crack_inspection(photos: str = config.photos) -> None:
        settings = config.step_json("inspect")
        done = on_cluster(notify(config=config.step_json("notify"), job=JOB), config)
        with dsl.ExitHandler(done, name="run"):
            listed = on_cluster(plan(photos=photos, config=settings, job=JOB), config).outputs["listed"]

            # The photos are divided into shares, and each share has its own task. We do not use a loop of KFP, because
            # KFP's backend fails on a loop inside an exit handler (kubeflow/pipelines#12390).
            shares = []
            for number in range(1, config.inspect.shares + 1):
                share = inspect(listed=listed, share=number, config=settings, job=JOB)
                share.set_display_name(f"inspect {number}")
                shares.append(on_cluster(share, config, config.cluster.inspect))

            on_cluster(join(listed=listed, config=settings, job=JOB).after(*shares), config)

    return crack_inspection
