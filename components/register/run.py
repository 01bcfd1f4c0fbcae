"""Register the winner in MLflow as `challenger`, once it answers from the registry as it was measured."""

import base64
import importlib.metadata
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from components.register.config import RegisterConfig
from components.register.model_card import model_card
from components.register.served_answers_check import check_version
from components.shared.data.manifest import read_manifest, read_splits, rows_of
from components.shared.data.versions import read_images
from components.shared.events import log
from components.shared.network.checkpoint import read_info
from components.shared.page import Page
from components.shared.results.calibration import read_calibration
from components.shared.results.dossier import CALIBRATION, PROFILE
from components.shared.results.predictions import read_predictions
from components.shared.services import mlflow_runs
from components.shared.services.store import Store

ABOUT = (
    "Tells whether a close-up of concrete shows a crack. A version's page is its model card; `crack-pipeline status` "
    "says who is champion and how the challenger compares."
)
REST = "\n\n… The whole card is `artifacts/model_card.md` among the version's files.\n"
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
    run_id = mlflow_runs.candidate_run(config.experiment, job, config.candidate)
    images = _test_images(winner, config)
    card = model_card(winner.model, winner.dossier, winner.manifest, winner.splits, config.model_name, job)
    _create_model(config.model_name)
    version = mlflow_runs.version_by_run(config.model_name, run_id) or _log_version(
        run_id, winner, images, card, config
    )
    mlflow_runs.client().update_model_version(config.model_name, version, description=_shortened(card))
    tags = {
        mlflow_runs.JOB: job,
        mlflow_runs.CANDIDATE: config.candidate,
        mlflow_runs.DATASET: read_info(winner.model).dataset_digest,
        mlflow_runs.VERDICT: "passed",
    }
    for key, value in tags.items():
        mlflow_runs.client().set_model_version_tag(config.model_name, version, key, value)
    if mlflow_runs.client().get_model_version(config.model_name, version).tags.get(mlflow_runs.CHECKED) != "passed":
        _check(version, winner, images, config)
    _make_challenger(config.model_name)
    log.info("registered %s version %s as %s", config.model_name, version, mlflow_runs.CHALLENGER)
    return {
        "registered": True,
        "name": config.model_name,
        "version": version,
        "alias": mlflow_runs.CHALLENGER,
        "candidate": config.candidate,
        "reasons": [],
    }


def _create_model(name: str) -> None:
    try:
        mlflow_runs.client().create_registered_model(name, description=ABOUT)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _shortened(card: str) -> str:
    """A card as long as MLflow shows one, without half a line."""
    if len(card) <= mlflow_runs.LONGEST:
        return card
    return card[: mlflow_runs.LONGEST - len(REST)].rpartition("\n")[0] + REST


def _log_version(run_id: str, winner: Winner, images: pd.Series, card: str, config: RegisterConfig) -> str:
    with tempfile.TemporaryDirectory() as scratch, mlflow.start_run(run_id=run_id):
        code = Path(scratch) / "components"
        here = Path(__file__).parents[1]
        shutil.copytree(here / "shared", code / "shared", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(here / "__init__.py", code)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts=_artifacts(winner, card, Path(scratch)),
            code_paths=[str(code)],
            signature=SIGNATURE,
            input_example=images.head(config.examples).to_frame("image").reset_index(drop=True),
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
            registered_model_name=config.model_name,
        )
    return str(logged.registered_model_version)


def _artifacts(winner: Winner, card: str, scratch: Path) -> dict[str, str]:
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
    artifacts |= _write_card(card, scratch)
    return {name: str(path) for name, path in artifacts.items()}


def _write_card(card: str, folder: Path) -> dict[str, Path]:
    files = {"model_card": folder / "model_card.md", "model_card_page": folder / "model_card.html"}
    files["model_card"].write_text(card, encoding="utf-8")
    title, _, text = card.removeprefix("# ").partition("\n")
    page = Page(title)
    page.text(text)
    page.write(files["model_card_page"])
    return files


def _test_images(winner: Winner, config: RegisterConfig) -> pd.Series:
    """Return base64 of test images by sample_id, read one by one, since a whole version would take longer."""
    rows = rows_of(read_manifest(winner.manifest), read_splits(winner.splits), "test")
    chosen = rows.head(max(config.examples, config.checked))
    files = read_images(Store(config.store), chosen)
    return pd.Series([base64.b64encode(file).decode() for file in files], chosen["sample_id"])


def _check(version: str, winner: Winner, images: pd.Series, config: RegisterConfig) -> None:
    """Compare measured and registered answers on the same images, and keep the outcome as a tag."""
    images = images.head(config.checked)
    calibration = read_calibration(Path(winner.dossier) / CALIBRATION)
    table = read_predictions(winner.predictions).clean("test").set_index("sample_id").loc[images.index]
    measured = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
    keep = partial(mlflow_runs.client().set_model_version_tag, config.model_name, version, mlflow_runs.CHECKED)
    try:
        check_version(f"models:/{config.model_name}/{version}", images, measured, config.tolerance)
    except RuntimeError as error:
        keep(str(error)[: mlflow_runs.LONGEST])
        raise RuntimeError(
            f"{config.model_name} version {version} gets no alias, because it failed the infra check: {error}"
        ) from error
    keep("passed")


def _make_challenger(name: str) -> None:
    """Let the alias follow the newest checked version, also when another pipeline registers at the same time."""
    aliased, newest = None, _newest_checked(name)
    while aliased != newest:
        mlflow_runs.put(mlflow_runs.client().set_registered_model_alias, name, mlflow_runs.CHALLENGER, str(newest))
        aliased, newest = newest, _newest_checked(name)


def _newest_checked(name: str) -> int:
    found = mlflow_runs.client().search_model_versions(
        f"name = '{name}' and tags.`{mlflow_runs.CHECKED}` = 'passed'", order_by=["version_number DESC"], max_results=1
    )
    return int(found[0].version)
