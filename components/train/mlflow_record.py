"""What MLflow is told of a training: what went in, where it ran, how it went."""

import json
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_GIT_COMMIT

from components.shared.data.manifest import Manifest
from components.shared.events import log
from components.shared.revision import commit
from components.shared.services import mlflow_runs
from components.train.config import TrainConfig

ROOT = Path(__file__).parents[2]
_DIGEST_LENGTH = 36  # of MLflow's column; the whole digest is a tag


def record_start(run_id: str, config: TrainConfig, seed: int, manifest: Manifest, images: dict[str, int]) -> None:
    """Log parameters, data set and environment.

    Args:
        run_id: The candidate's run.
        config: How it is trained.
        seed: Of the training.
        manifest: The data set version.
        images: Number of images per split.
    """
    client = mlflow_runs.client()
    mlflow_runs.log_params(run_id, {"train": config.identity(), "seed": seed})
    data = Dataset(
        name="crack tiles",
        digest=manifest.digest[:_DIGEST_LENGTH],
        source_type="s3",
        source=json.dumps({"uri": f"{config.store}/datasets/{manifest.digest}"}),
        profile=json.dumps(images),
    )
    client.log_inputs(run_id, [DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])])
    about = environment(config.container_image)
    client.log_dict(run_id, about, "environment.json")
    tags = {mlflow_runs.DATASET: manifest.digest, "crack.container_image": config.container_image}
    mlflow_runs.set_tags(run_id, {**tags, MLFLOW_GIT_COMMIT: about["commit"]})


def environment(container_image: str) -> dict[str, Any]:
    """Return where this runs: commit, container image, Python, packages with their versions."""
    return {
        "commit": _commit(),
        "container_image": container_image,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted({package.name.lower(): package.version for package in distributions()}.items())),
    }


def _commit() -> str:
    """The commit of this code: the container image holds it in a file, a checkout knows it; else empty."""
    if (ROOT / "REVISION").is_file():
        return (ROOT / "REVISION").read_text().strip()
    try:
        return commit(ROOT)
    except (OSError, subprocess.CalledProcessError):
        return ""


@contextmanager
def watching_the_machine(run_id: str) -> Iterator[None]:
    """Log the use of processors, memory and GPUs while the training runs, every ten seconds, as `system/…`."""
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
    except ImportError as error:
        log.warning("the use of the machine is not recorded: %s", error)
        yield
        return
    monitor = SystemMetricsMonitor(run_id, resume_logging=True)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def record_point(run_id: str, point: dict[str, float]) -> None:
    """Log a point of the curves while the training goes on; what fails now is made up for at the end."""
    try:
        mlflow_runs.log_history(run_id, [point], synchronous=False)
    except MlflowException as error:
        log.warning("MLflow did not take the curves' point at step %d: %s", point["step"], error)


def record_end(run_id: str, record: dict[str, Any], folder: Path, key: str, reused: bool) -> None:
    """Log the curves whole, the page with their figures, and what came of the training.

    Args:
        run_id: The candidate's run.
        record: TrainingRecord as a dict.
        folder: Holds training.html and curves.png.
        key: Run key.
        reused: Whether finished work was taken.
    """
    mlflow_runs.log_history(run_id, record["history"])
    for name in ("training.html", "curves.png"):
        mlflow_runs.client().log_artifact(run_id, str(folder / name), "training")
    facts = {"run_key": key, "reused": reused, "micro_batches": record["parts"], "resumed_at": record["resumed_at"]}
    for name in ("device", "devices", "precision", "best_step"):
        facts[name] = record[name]
    mlflow_runs.set_tags(run_id, {f"crack.{name}": str(value) for name, value in facts.items()})
