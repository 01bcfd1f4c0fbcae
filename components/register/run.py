"""Register the winner in MLflow, check that its answers match the measured ones, and make it the challenger."""

import base64
import importlib.metadata
import shutil
import tempfile
from dataclasses import dataclass
from modulefinder import ModuleFinder
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
from components.shared.network.saved_network import read_info
from components.shared.page import Page
from components.shared.results.calibration import read_calibration
from components.shared.results.dossier import CALIBRATION, PROFILE
from components.shared.results.predictions import read_predictions
from components.shared.services import mlflow_runs
from components.shared.services.store import Store

MODEL_DESCRIPTION = (
    "Decides whether a close-up photo of concrete shows a crack. A model version's description is its model card. "
    "`crack-pipeline status` shows the champion and how the challenger compares with it."
)
CARD_ENDING = "\n\n… The whole card is `artifacts/model_card.md` among the files of the model version.\n"
TRAINING_SPLITS = ("train", "val")  # val also counts, because it decides which weights are saved, and the calibration
SERVED_MODEL = Path(__file__).with_name("served_model.py")
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
    """The paths of the winner's artifacts and of the data in its training.

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
    """Register a candidate's model as a new model version, check it, and give it the alias `challenger`.

    If the job has already registered a model version, this version is completed and returned.

    Args:
        winner: The model and its data.
        config: The registered model's name, and the settings of the infra check.
        job: The pipeline job's id.

    Returns:
        The registration's record: registered, name, version, alias, candidate, reasons.

    Raises:
        RuntimeError: The model version does not answer as measured. It gets no alias, and a tag contains the reason.
    """
    name = config.model_name
    client = mlflow_runs.client()
    run_id = mlflow_runs.candidate_run(config.experiment, job, config.candidate)
    images = _test_images(winner, config)
    card = model_card(winner.model, winner.dossier, winner.manifest, winner.splits, name, job)

    _create_model(name)
    version = mlflow_runs.version_by_run(name, run_id)
    if version is None:
        created = _log_version(run_id, winner, images, card, config)
        version = _first_of_run(name, run_id, created)
    client.update_model_version(name, version, description=_shortened(card))

    tags = {
        mlflow_runs.JOB: job,
        mlflow_runs.CANDIDATE: config.candidate,
        mlflow_runs.DATASET: read_info(winner.model).dataset_digest,
        mlflow_runs.VERDICT: "passed",
    }
    for key, value in tags.items():
        mlflow_runs.put(client.set_model_version_tag, name, version, key, value)

    if client.get_model_version(name, version).tags.get(mlflow_runs.CHECKED) != "passed":
        _check(version, winner, images, config)
    _make_challenger(name)

    log.info("registered %s version %s as %s", name, version, mlflow_runs.CHALLENGER)
    return {
        "registered": True,
        "name": name,
        "version": version,
        "alias": mlflow_runs.CHALLENGER,
        "candidate": config.candidate,
        "reasons": [],
    }


def _create_model(name: str) -> None:
    """Create the registered model if it does not exist."""
    try:
        mlflow_runs.client().create_registered_model(name, description=MODEL_DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _shortened(card: str) -> str:
    """Return the card, or as many of its lines as fit into MLflow's description."""
    if len(card) <= mlflow_runs.LONGEST:
        return card
    start = card[: mlflow_runs.LONGEST - len(CARD_ENDING)]
    return start.rpartition("\n")[0] + CARD_ENDING


def _log_version(run_id: str, winner: Winner, images: pd.Series, card: str, config: RegisterConfig) -> str:
    """Log the model to its run, register it, and return the number of the model version."""
    requirements = [f"{package}=={importlib.metadata.version(package)}" for package in REQUIREMENTS]
    example = images.head(config.examples).to_frame("image").reset_index(drop=True)

    with tempfile.TemporaryDirectory() as scratch, mlflow.start_run(run_id=run_id):
        folder = Path(scratch)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(SERVED_MODEL),
            artifacts=_artifacts(winner, card, folder),
            code_paths=[str(_copy_served_code(folder))],
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=requirements,
            registered_model_name=config.model_name,
        )
    return str(logged.registered_model_version)


def _first_of_run(name: str, run_id: str, created: str) -> str:
    """Return the number of the run's first version. If `created` is another version, delete it.

    Two registrations of one job may overlap, such as a step and its retry. Then each of them creates a version.
    """
    first = mlflow_runs.version_by_run(name, run_id)
    if first is None or first == created:
        return created

    mlflow_runs.client().delete_model_version(name, created)
    log.info("%s version %s is already registered by this job; version %s is deleted", name, first, created)
    return first


def _copy_served_code(folder: Path) -> Path:
    """Copy all modules of this project that the served model needs. Return the folder of the package."""
    root = Path(__file__).parents[2]
    finder = ModuleFinder(path=[str(root)])
    finder.run_script(str(SERVED_MODEL))

    for name, module in finder.modules.items():
        if name.partition(".")[0] == "components":
            source = Path(vars(module)["__file__"])
            target = folder / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return folder / "components"


def _artifacts(winner: Winner, card: str, folder: Path) -> dict[str, str]:
    """Return the paths of the model version's artifacts by name. New files are written into `folder`.

    The artifact `training_rows` lists the tiles on which the model must not be tested.
    """
    manifest = read_manifest(winner.manifest)
    splits = read_splits(winner.splits)
    training_rows = pd.concat([rows_of(manifest, splits, split).assign(split=split) for split in TRAINING_SPLITS])
    rows_file = folder / "training_rows.parquet"
    training_rows[["sample_id", "group_id", "split"]].to_parquet(rows_file, index=False)

    dossier = Path(winner.dossier)
    artifacts = {
        "model": Path(winner.model),
        "calibration": dossier / CALIBRATION,
        "training_rows": rows_file,
        **_write_card(card, folder),
    }
    profile = dossier / PROFILE
    if profile.exists():
        artifacts["reference_profile"] = profile
    return {name: str(path) for name, path in artifacts.items()}


def _write_card(card: str, folder: Path) -> dict[str, Path]:
    """Write the model card as Markdown and as a page."""
    markdown = folder / "model_card.md"
    markdown.write_text(card, encoding="utf-8")

    title, _, text = card.removeprefix("# ").partition("\n")
    page = Page(title)
    page.text(text)
    page_file = folder / "model_card.html"
    page.write(page_file)
    return {"model_card": markdown, "model_card_page": page_file}


def _test_images(winner: Winner, config: RegisterConfig) -> pd.Series:
    """Return the first test tiles as base64, by sample_id. Only these tiles are fetched from the store."""
    rows = rows_of(read_manifest(winner.manifest), read_splits(winner.splits), "test")
    chosen = rows.head(max(config.examples, config.checked))
    files = read_images(Store(config.store), chosen)
    return pd.Series([base64.b64encode(file).decode() for file in files], chosen["sample_id"])


def _check(version: str, winner: Winner, images: pd.Series, config: RegisterConfig) -> None:
    """Compare the model version's answers with the measured answers, and store the result as a tag.

    Raises:
        RuntimeError: The model version cannot be loaded, or an answer is different.
    """
    images = images.head(config.checked)
    calibration = read_calibration(Path(winner.dossier) / CALIBRATION)
    table = read_predictions(winner.predictions).clean("test").set_index("sample_id").loc[images.index]
    measured = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())

    client = mlflow_runs.client()
    name = config.model_name
    try:
        check_version(f"models:/{name}/{version}", images, measured, config.tolerance)
    except RuntimeError as error:
        client.set_model_version_tag(name, version, mlflow_runs.CHECKED, str(error)[: mlflow_runs.LONGEST])
        raise RuntimeError(
            f"{name} version {version} gets no alias, because it failed the infra check: {error}"
        ) from error
    mlflow_runs.put(client.set_model_version_tag, name, version, mlflow_runs.CHECKED, "passed")


def _make_challenger(name: str) -> None:
    """Give the alias to the newest checked model version, even if another pipeline registers at the same time."""
    newest = _newest_checked(name)
    while True:
        mlflow_runs.put(mlflow_runs.client().set_registered_model_alias, name, mlflow_runs.CHALLENGER, str(newest))
        aliased = newest
        newest = _newest_checked(name)
        if newest == aliased:
            return


def _newest_checked(name: str) -> int:
    """Return the number of the newest model version that passed the infra check."""
    passed = f"name = '{name}' and tags.`{mlflow_runs.CHECKED}` = 'passed'"
    found = mlflow_runs.client().search_model_versions(passed, order_by=["version_number DESC"], max_results=1)
    return int(found[0].version)
