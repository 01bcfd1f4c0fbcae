"""Register the winner in MLflow as `challenger`, once it answers from the registry as it was measured."""

import base64
import importlib.metadata
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from components.register.config import RegisterConfig
from components.register.infra_check import served_answers
from components.register.model_card import model_card
from components.shared import tracking
from components.shared.calibration import read_calibration
from components.shared.checkpoint import read_info
from components.shared.dossier import CALIBRATION, PROFILE
from components.shared.manifest import read_manifest, read_splits, rows_of
from components.shared.page import Page
from components.shared.predictions import read_predictions
from components.shared.runtime import log
from components.shared.shards import ShardReader, fetch
from components.shared.storage import Store

LEARNT_FROM = ("train", "val")  # weights are chosen and calibrated on val
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "image")]),
    outputs=Schema([ColSpec("double", "p_crack"), ColSpec("string", "label"), ColSpec("double", "threshold")]),
)
REQUIREMENTS = (
    "boto3", "mlflow", "numpy", "opencv-python-headless", "pandas", "pillow", "pyarrow", "pydantic", "safetensors",
    "timm", "torch", "torchvision",
)  # fmt: skip


@dataclass(frozen=True)
class Winner:
    """What the pipeline hands over: the paths of the winner's artifacts and of the data they came from.

    Attributes:
        model: Saved-model folder.
        predictions: Predictions folder.
        dossier: Dossier folder.
        manifest: manifest.parquet of the data set version.
        splits: Table (sample_id, split).
    """

    model: str
    predictions: str
    dossier: str
    manifest: str
    splits: str


def register_winner(winner: Winner, config: RegisterConfig, job: str) -> dict:
    """Register a candidate's model as a new version, check it, and give it the alias `challenger`.

    Registering the same job again returns the version that is already there, finished where it was cut short.

    Args:
        winner: What is registered.
        config: The registered model's name, and how the version is checked.
        job: The pipeline job's id.

    Returns:
        The record of the registration: registered, name, version, alias, candidate, reasons.

    Raises:
        RuntimeError: The version does not answer as measured; it stays without an alias, with the reason as a tag.
    """
    run_id = tracking.candidate_run(config.experiment, job, config.candidate)
    tiles = _test_tiles(winner, config)
    version = tracking.version_by_run(config.model_name, run_id) or _log_version(run_id, winner, tiles, config, job)
    tags = {
        tracking.JOB: job,
        tracking.CANDIDATE: config.candidate,
        tracking.DATASET: read_info(winner.model).dataset_digest,
        tracking.VERDICT: "passed",
    }
    for key, value in tags.items():
        tracking.client().set_model_version_tag(config.model_name, version, key, value)
    if tracking.client().get_model_version(config.model_name, version).tags.get(tracking.CHECKED) != "passed":
        _check(version, winner, tiles, config)
    _make_challenger(config.model_name)
    _describe(version, config)
    log.info("registered %s version %s as %s", config.model_name, version, tracking.CHALLENGER)
    return {
        "registered": True,
        "name": config.model_name,
        "version": version,
        "alias": tracking.CHALLENGER,
        "candidate": config.candidate,
        "reasons": [],
    }


def _describe(version: str, config: RegisterConfig) -> None:
    """Show the model card where MLflow shows a version."""
    kept = tracking.download_version(config.model_name, version)
    card = (kept / "model_card.md").read_text(encoding="utf-8")
    tracking.client().update_model_version(config.model_name, version, description=card[: tracking.LONGEST])


def _log_version(run_id: str, winner: Winner, tiles: pd.Series, config: RegisterConfig, job: str) -> str:
    with tempfile.TemporaryDirectory() as scratch, mlflow.start_run(run_id=run_id):
        code = Path(scratch) / "components"
        here = Path(__file__).parents[1]
        shutil.copytree(here / "shared", code / "shared", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(here / "__init__.py", code)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts=_artifacts(winner, Path(scratch), config, job),
            code_paths=[str(code)],
            signature=SIGNATURE,
            input_example=_column(tiles.head(config.examples)),
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
            registered_model_name=config.model_name,
        )
    return str(logged.registered_model_version)


def _artifacts(winner: Winner, scratch: Path, config: RegisterConfig, job: str) -> dict[str, str]:
    """Return the version's artifacts, name -> path; the training rows say what it may not be tested on."""
    manifest, splits = read_manifest(winner.manifest), read_splits(winner.splits)
    learnt = pd.concat([rows_of(manifest, splits, split).assign(split=split) for split in LEARNT_FROM])
    rows = scratch / "training_rows.parquet"
    learnt[["sample_id", "group_id", "split"]].to_parquet(rows, index=False)
    dossier = Path(winner.dossier)
    artifacts = {"model": Path(winner.model), "calibration": dossier / CALIBRATION, "training_rows": rows}
    profile = dossier / PROFILE
    if profile.exists():
        artifacts["reference_profile"] = profile
    artifacts |= _write_card(winner, scratch, config, job)
    return {name: str(path) for name, path in artifacts.items()}


def _write_card(winner: Winner, scratch: Path, config: RegisterConfig, job: str) -> dict[str, Path]:
    card = model_card(winner.model, winner.dossier, winner.manifest, winner.splits, config.model_name, job)
    files = {"model_card": scratch / "model_card.md", "model_card_page": scratch / "model_card.html"}
    files["model_card"].write_text(card, encoding="utf-8")
    title, _, text = card.removeprefix("# ").partition("\n")
    page = Page(title)
    page.text(text)
    page.write(files["model_card_page"])
    return files


def _test_tiles(winner: Winner, config: RegisterConfig) -> pd.Series:
    """Return image files of the test split by sample_id."""
    manifest, splits = read_manifest(winner.manifest), read_splits(winner.splits)
    reader = ShardReader(fetch(Store(config.store), manifest.digest, config.cache, config.cache_size))
    rows = rows_of(manifest, splits, "test").head(max(config.examples, config.checked))
    return pd.Series({row.sample_id: reader.read(row.shard, row.offset, row.size) for row in rows.itertuples()})


def _column(tiles: pd.Series) -> pd.DataFrame:
    return pd.DataFrame({"image": [base64.b64encode(tile).decode() for tile in tiles]})


def _check(version: str, winner: Winner, tiles: pd.Series, config: RegisterConfig) -> None:
    """Compare measured and registered answers on the same tiles, and keep the outcome as a tag."""
    tiles = tiles.head(config.checked)
    calibration = read_calibration(Path(winner.dossier) / CALIBRATION)
    table = read_predictions(winner.predictions).clean("test").set_index("sample_id").loc[tiles.index]
    measured = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
    try:
        served = served_answers(f"models:/{config.model_name}/{version}", _column(tiles)["image"].tolist())
        _agree(served, measured, config.tolerance, tiles.index)
    except RuntimeError as error:
        cause = str(error)[: tracking.LONGEST]
        tracking.client().set_model_version_tag(config.model_name, version, tracking.CHECKED, cause)
        raise RuntimeError(
            f"{config.model_name} version {version} gets no alias, because it failed the infra check: {error}"
        ) from error
    tracking.client().set_model_version_tag(config.model_name, version, tracking.CHECKED, "passed")


def _agree(served: np.ndarray, measured: np.ndarray, tolerance: float, images: pd.Index) -> None:
    apart = np.abs(served - measured)
    worst = int(np.argmax(apart))
    if not apart[worst] <= tolerance:  # not >, so that NaN disagrees
        raise RuntimeError(
            f"image {images[worst][:12]} was measured with P(crack) {measured[worst]:.6f} and is served with "
            f"{served[worst]:.6f}; at most {tolerance:g} apart is allowed"
        )


def _make_challenger(name: str) -> None:
    """Let the alias follow the newest checked version, also when another pipeline registers at the same time."""
    aliased, newest = None, _newest_checked(name)
    while aliased != newest:
        tracking.put(tracking.client().set_registered_model_alias, name, tracking.CHALLENGER, str(newest))
        aliased, newest = newest, _newest_checked(name)


def _newest_checked(name: str) -> int:
    found = tracking.client().search_model_versions(
        f"name = '{name}' and tags.`{tracking.CHECKED}` = 'passed'", order_by=["version_number DESC"], max_results=1
    )
    return int(found[0].version)
