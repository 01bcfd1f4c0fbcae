"""Put the files of a registered version into a folder, from which a server without access to MLflow can serve them."""

import shutil
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info

from components.shared.errors import InputError
from components.shared.services import mlflow_runs
from pipelines.registry.classify import WHERE_VERSIONS_ARE, checked_files, name_and_version, version_meant

MODEL = "model"  # folder of the version's files
INCOMING = "incoming"  # folder of files that are being copied; a call that was killed may leave it
DESCRIPTION = "MLmodel"  # the file that every model of MLflow has
# The columns that the signature of every registered version has. `needs_review` may be missing.
REGISTERED_COLUMNS = ("p_crack", "label", "threshold", "novelty")
TRAIN_AGAIN = "run the pipeline again, and promote the version that it registers"


def require_servable(name: str, number: str) -> None:
    """Check that a registered version has what a server needs: a digest, and the columns of the served answers.

    Raises:
        InputError: The version does not exist, or an earlier release registered it without one of these.
    """
    version = f"{name} version {number}"
    try:
        tags = mlflow_runs.client().get_model_version(name, number).tags
        signature = get_model_info(f"models:/{name}/{number}").signature
    except MlflowException as error:
        raise InputError(f"{version} cannot be served: {error.message}; {WHERE_VERSIONS_ARE}") from error
    if mlflow_runs.DIGEST not in tags:
        raise InputError(
            f"{version} was registered without a digest, so nobody can check its files, and it is not served; "
            f"{TRAIN_AGAIN}"
        )

    answered = signature.outputs.input_names() if signature and signature.outputs else []
    missing = [column for column in REGISTERED_COLUMNS if column not in answered]
    if missing:
        raise InputError(
            f"{version} cannot be served, because its answers have no {', '.join(missing)}; an earlier release or "
            f"another program registered it. {TRAIN_AGAIN.capitalize()}"
        )


def fetch_version(model_uri: str, folder: Path, signed_by: Path | None) -> str:
    """Fetch a registered version, check its files, and put them into `folder/model`. An older model there is replaced.

    Args:
        model_uri: URI of a registered version in MLflow, with a number or an alias.
        folder: The folder. It is created if it does not exist.
        signed_by: PEM file of the public key that must verify the version's signature. None: it needs no signature.

    Returns:
        The URI of the version, with its number.

    Raises:
        InputError: The URI does not name a registered version that can be served, `folder/model` is something else than
            a model, the files are not the registered files, or a required signature is missing or wrong.
    """
    version = version_meant(model_uri)
    name, number = name_and_version(version)
    if not number:
        raise InputError(
            f"{model_uri} is not a registered model version; give one such as models:/crack-classifier@champion"
        )
    target = folder / MODEL
    if target.exists() and not (target / DESCRIPTION).is_file():
        raise InputError(f"{target} is not a model, so it is not replaced; give another folder")

    require_servable(name, number)
    with checked_files(version, signed_by) as files:
        incoming = folder / INCOMING
        shutil.rmtree(incoming, ignore_errors=True)
        shutil.copytree(files, incoming)
        shutil.rmtree(target, ignore_errors=True)
        incoming.rename(target)
    return version
