"""Register the winner in MLflow, check that its answers match the measured ones, and make it the challenger."""

import base64
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException

from components.register.config import RegisterConfig
from components.register.model_card import model_card
from components.register.served_answers_check import check_version
from components.register.version import Winner, content_of, save_version
from components.shared.data.manifest import read_manifest, read_splits, rows_of
from components.shared.data.versions import read_images
from components.shared.events import log
from components.shared.network.saved_network import read_info
from components.shared.results.calibration import read_calibration
from components.shared.results.dossier import CALIBRATION
from components.shared.results.predictions import read_predictions
from components.shared.services import mlflow_runs
from components.shared.services.store import Store
from components.shared.services.version_files import version_digest, version_folder

MODEL_DESCRIPTION = (
    "Decides whether a close-up photo of concrete shows a crack. A model version's description is its model card. "
    "`crack-pipeline status` shows the champion and how the challenger compares with it."
)
CARD_ENDING = "\n\n… The whole card is `artifacts/model_card.md` among the files of the model version.\n"


def register_winner(winner: Winner, config: RegisterConfig, job: str) -> dict:
    """Register a candidate's model as a new model version, check it, and give it the alias `challenger`.

    If a model version with the same weights, calibration, training data and code is registered already, no new version
    is stored. We then check the registered version and give it the alias.

    Args:
        winner: The model and its data.
        config: Contains the registered model's name, and the settings for the check of the answers.
        job: The pipeline job's id.

    Returns:
        The registration's record: registered, name, version, alias, candidate, reasons.

    Raises:
        InputError: The files of a registered version were changed after its registration.
        RuntimeError: The model version cannot be loaded, or its answers differ from the measured answers. The version
            gets no alias, and one of its tags contains the reason.
    """
    name = config.model_name
    images = _test_images(winner, config)

    _create_model(name)
    content = content_of(winner)
    version = mlflow_runs.version_by_content(name, content)
    if version is None:
        created = _log_version(winner, images, content, config, job)
        version = _oldest_of_content(name, content, created)
    _check(version, winner, images, config)
    _make_challenger(name, version, job)

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


def shortened(card: str) -> str:
    """Return the model card. If the card is too long for MLflow's description, return only its first lines."""
    if len(card) <= mlflow_runs.LONGEST:
        return card
    start = card[: mlflow_runs.LONGEST - len(CARD_ENDING)]
    return start.rpartition("\n")[0] + CARD_ENDING


def _log_version(winner: Winner, images: pd.Series, content: str, config: RegisterConfig, job: str) -> str:
    """Store the model's files, register them with their digest, and return the number of the model version.

    The version and its tags are one entry in MLflow's database. So a registration that is killed leaves either a whole
    version or none.
    """
    name = config.model_name
    client = mlflow_runs.client()
    run_id = mlflow_runs.candidate_run(config.experiment, job, config.candidate)
    card = model_card(winner.model, winner.dossier, winner.manifest, winner.splits, name, job)
    tags = {
        mlflow_runs.JOB: job,
        mlflow_runs.CANDIDATE: config.candidate,
        mlflow_runs.DATASET: read_info(winner.model).dataset_digest,
        mlflow_runs.VERDICT: "passed",
        mlflow_runs.CONTENT: content,
    }

    with tempfile.TemporaryDirectory() as scratch:
        folder = save_version(winner, images.head(config.examples), card, Path(scratch))
        tags[mlflow_runs.DIGEST] = version_digest(folder)
        model_id = _upload(folder, run_id, job)

    version = client.create_model_version(
        name, f"models:/{model_id}", run_id, tags=tags, description=shortened(card), model_id=model_id
    )
    return str(version.version)


def _upload(folder: Path, run_id: str, job: str) -> str:
    """Upload a model's files to an MLflow run, and return the id that MLflow gives the model."""
    client = mlflow_runs.client()
    experiment = client.get_run(run_id).info.experiment_id
    model = mlflow.initialize_logged_model(
        "model", source_run_id=run_id, tags={mlflow_runs.JOB: job}, experiment_id=experiment
    )
    model_id = model.model_id
    client.log_model_artifacts(model_id, str(folder))
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    return model_id


def _oldest_of_content(name: str, content: str, created: str) -> str:
    """Return the number of the oldest version with this content. Delete the version `created` if it is not the oldest.

    If two registrations overlap, such as a step and its retry, each creates a version.
    """
    oldest = mlflow_runs.version_by_content(name, content) or created
    if oldest != created:
        mlflow_runs.client().delete_model_version(name, created)
        log.info("deleted %s version %s, because version %s has the same content", name, created, oldest)
    return oldest


def _test_images(winner: Winner, config: RegisterConfig) -> pd.Series:
    """Return the files of the first test tiles as base64. The index is sample_id. No other tile is fetched."""
    rows = rows_of(read_manifest(winner.manifest), read_splits(winner.splits), "test")
    chosen = rows.head(max(config.examples, config.checked))
    files = read_images(Store(config.store), chosen)
    return pd.Series([base64.b64encode(file).decode() for file in files], chosen["sample_id"])


def _check(version: str, winner: Winner, images: pd.Series, config: RegisterConfig) -> None:
    """Compare the model version's answers with the measured answers, and store the result as a tag.

    The answers of a version that passed before are not compared again, but its files must still be the same.

    Raises:
        InputError: The version's files are not the registered ones.
        RuntimeError: The model version cannot be loaded, or an answer is different.
    """
    name = config.model_name
    client = mlflow_runs.client()
    images = images.head(config.checked)

    with version_folder(name, version) as folder:
        if client.get_model_version(name, version).tags.get(mlflow_runs.CHECKED) == "passed":
            return
        try:
            measured = _measured(winner, images)
            check_version(str(folder), images, measured, config.tolerance, f"{name} version {version}")
        except RuntimeError as error:
            client.set_model_version_tag(name, version, mlflow_runs.CHECKED, str(error)[: mlflow_runs.LONGEST])
            raise RuntimeError(
                f"{name} version {version} gets no alias, because the check of its answers failed: {error}"
            ) from error
    mlflow_runs.put(client.set_model_version_tag, name, version, mlflow_runs.CHECKED, "passed")


def _measured(winner: Winner, images: pd.Series) -> np.ndarray:
    """Return the measured, calibrated P(crack) of test images. The index of `images` holds their sample_ids."""
    calibration = read_calibration(Path(winner.dossier) / CALIBRATION)
    table = read_predictions(winner.predictions).clean("test").set_index("sample_id").loc[images.index]
    return calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())


def _make_challenger(name: str, version: str, job: str) -> None:
    """Give the alias `challenger` to a model version.

    If this job registered `version`, the newest checked version gets the alias. It can be a version of another run that
    registers at the same time. If an earlier job registered `version`, then `version` itself gets the alias, because
    it is also the winner of this job.
    """
    client = mlflow_runs.client()
    if client.get_model_version(name, version).tags.get(mlflow_runs.JOB) != job:
        mlflow_runs.put(client.set_registered_model_alias, name, mlflow_runs.CHALLENGER, version)
        return

    newest = _newest_checked(name)
    while True:
        mlflow_runs.put(client.set_registered_model_alias, name, mlflow_runs.CHALLENGER, str(newest))
        aliased = newest
        newest = _newest_checked(name)
        if newest == aliased:
            return


def _newest_checked(name: str) -> int:
    """Return the number of the newest model version whose answers passed the check."""
    passed = f"name = '{name}' and tags.`{mlflow_runs.CHECKED}` = 'passed'"
    found = mlflow_runs.client().search_model_versions(passed, order_by=["version_number DESC"], max_results=1)
    return int(found[0].version)
