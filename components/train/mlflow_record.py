"""Record a training in MLflow: its inputs, its environment and its results."""

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
# MLflow stores only this many characters of a data set's digest. So we also store the whole digest in a tag of the run.
MLFLOW_DIGEST_LENGTH = 36


def record_start(run_id: str, config: TrainConfig, seed: int, manifest: Manifest, images: dict[str, int]) -> None:
    """Log the parameters, the data set and the environment of a training.

    Args:
        run_id: Id of the candidate's MLflow run.
        config: The settings of the training.
        seed: Seed of the initial weights, the order of the tiles and the augmentation.
        manifest: The data set version.
        images: Number of tiles in each split.
    """
    client = mlflow_runs.client()
    mlflow_runs.log_params(
        run_id, {"train": {**config.identity(), "augment": augmentation_by_position(config)}, "seed": seed}
    )

    data = Dataset(
        name="crack tiles",
        digest=manifest.digest[:MLFLOW_DIGEST_LENGTH],
        source_type="s3",
        source=json.dumps({"uri": f"{config.store}/datasets/{manifest.digest}"}),
        profile=json.dumps(images),
    )
    client.log_inputs(run_id, [DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])])

    where = environment(config.container_image)
    client.log_dict(run_id, where, "environment.json")
    mlflow_runs.set_tags(
        run_id,
        {
            mlflow_runs.DATASET: manifest.digest,
            "crack.container_image": config.container_image,
            MLFLOW_GIT_COMMIT: where["commit"],
        },
    )


def augmentation_by_position(config: TrainConfig) -> dict[str, str]:
    """Return a dict: position -> transform as a Python call, such as {"0": "Rotate(limit=30, p=0.8)"}."""
    written = {}
    for position, item in enumerate(config.augment):
        for name, arguments in item.items():
            values = ", ".join(f"{key}={value}" for key, value in arguments.items())
            written[str(position)] = f"{name}({values})"
    return written


def environment(container_image: str) -> dict[str, Any]:
    """Return the environment of this process: commit, container image, Python, and all packages with their versions."""
    packages = {package.name.lower(): package.version for package in distributions()}
    return {
        "commit": _commit(),
        "container_image": container_image,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items())),
    }


def _commit() -> str:
    """Return the commit of this code. Return "" if it is not known.

    In a container image, the file REVISION contains the commit. Elsewhere, we ask git.
    """
    if (ROOT / "REVISION").is_file():
        return (ROOT / "REVISION").read_text().strip()
    try:
        return commit(ROOT)
    except (OSError, subprocess.CalledProcessError):
        return ""


@contextmanager
def record_machine_use(run_id: str) -> Iterator[None]:
    """Inside the `with` block, log the use of processors, memory and GPUs every ten seconds as `system/…`."""
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
    except ImportError as error:
        log.warning("the use of processors, memory and GPUs is not recorded: %s", error)
        yield
        return

    monitor = SystemMetricsMonitor(run_id, resume_logging=True)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def record_point(run_id: str, point: dict[str, float]) -> None:
    """Log a point of the curves during the training. If this fails, `record_end` logs the point again."""
    try:
        mlflow_runs.log_history(run_id, [point], synchronous=False)
    except MlflowException as error:
        log.warning(
            "could not log the curves after optimiser step %d to MLflow, so we log them again after the training: %s",
            point["step"],
            error,
        )


def record_end(run_id: str, record: dict[str, Any], folder: Path, key: str, reused: bool) -> None:
    """Log the complete curves, the page and its images, and facts of the training such as its device and precision.

    Args:
        run_id: Id of the candidate's MLflow run.
        record: TrainingRecord as a dict.
        folder: Folder with training.html, curves.png and augmentation.jpg.
        key: Run key, under which the training is stored.
        reused: True if the result of an earlier training was reused.
    """
    mlflow_runs.log_history(run_id, record["history"])
    for name in ("training.html", "curves.png", "augmentation.jpg"):
        mlflow_runs.client().log_artifact(run_id, str(folder / name), "training")

    facts = {
        "run_key": key,
        "reused": reused,
        "micro_batches": record["parts"],
        "resumed_at": record["resumed_at"],
        "device": record["device"],
        "devices": record["devices"],
        "precision": record["precision"],
        "best_step": record["best_step"],
    }
    mlflow_runs.set_tags(run_id, {f"crack.{name}": str(value) for name, value in facts.items()})
