"""Back up a registered model to one file, and restore it: model versions, runs, aliases and the promotion history.

The file is a tar archive. `versions/N/model/` contains the files of model version N. `versions/N/run/` contains the
files of its MLflow run. `registry.json` contains all other data, and the sha256 of every file.
"""

import json
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from components.shared.atomic_file import atomic_file
from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.regular_file import require_file
from components.shared.services import mlflow_runs
from pipelines.registry.promotions import Registry

FORMAT = 1
CONTENTS = "registry.json"
MODEL_FOLDER = "registered_model"  # folder in a restored run that contains the files of the model version
DELETED_SOURCE = "s3://nowhere/deleted"  # source of a model version that is created and then deleted


def export_registry(registry: Registry, path: Path, progress: Callable[[str], None]) -> int:
    """Write a registered model to a file. The file appears only when it is complete.

    Args:
        registry: The registered model.
        path: The file to write.
        progress: Function that is called before the export of each model version. The argument is a text such as
            "version 3".

    Returns:
        The number of model versions.

    Raises:
        InputError: The file exists already, or the files of a model version cannot be read.
    """
    if path.exists():
        raise InputError(f"{path} exists already and is not overwritten; give another file")

    registry.settle()
    model = registry.client.get_registered_model(registry.name)
    aliases = {alias: str(number) for alias, number in model.aliases.items()}
    # We read the model versions after the aliases. So every alias names one of the versions that we have read.
    versions = sorted(registry.versions(), key=lambda version: int(version.version))
    numbers = [version.version for version in versions] + [entry.target for entry in registry.history()]

    contents: dict[str, Any] = {
        "format": FORMAT,
        "name": registry.name,
        "description": model.description or "",
        "tags": model.tags,
        "aliases": aliases,
        "highest": max(map(int, numbers), default=0),
        "versions": [],
        "sha256": {},
    }
    with atomic_file(path) as unfinished, tarfile.open(unfinished, "w") as archive:
        for version in versions:
            progress(f"version {version.version}")
            with tempfile.TemporaryDirectory() as scratch:
                contents["versions"].append(_fetch_version(registry, version, Path(scratch)))
                contents["sha256"] |= _checksums(Path(scratch), f"versions/{version.version}")
                archive.add(scratch, f"versions/{version.version}")

        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / CONTENTS
            file.write_text(json.dumps(contents, ensure_ascii=False, indent=1), encoding="utf-8")
            archive.add(file, CONTENTS)
    return len(versions)


def _fetch_version(registry: Registry, version: ModelVersion, folder: Path) -> dict[str, Any]:
    """Download the files of a model version and of its run to a folder. Return the version's entry in CONTENTS."""
    client = registry.client
    download = folder / "download"
    download.mkdir()
    try:
        source = client.get_model_version_download_uri(version.name, str(version.version))
        # MLflow returns the folder `download` or a folder inside it.
        Path(download_artifacts(source, dst_path=str(download))).rename(folder / "model")
        shutil.rmtree(download, ignore_errors=True)
    except (MlflowException, OSError) as error:
        raise InputError(
            f"the files of {version.name} version {version.version} cannot be read: {error}; restore the files, "
            "or delete this version in MLflow"
        ) from error

    entry: dict[str, Any] = {
        "version": str(version.version),
        "description": version.description or "",
        "tags": version.tags,
        "run": None,
    }
    run_files = folder / "run"
    run_files.mkdir()
    run = registry.run(version)
    if run is None:
        return entry

    client.download_artifacts(run.info.run_id, "", str(run_files))
    entry["run"] = {
        "name": run.info.run_name,
        "experiment": client.get_experiment(run.info.experiment_id).name,
        "metrics": run.data.metrics,
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
    }
    return entry


def import_registry(path: Path, experiment: str, progress: Callable[[str], None]) -> str:
    """Restore a registered model from a file, with the same version numbers, aliases and history.

    Every model version gets a new run. The new run contains only the last value of each metric of the old run. MLflow
    sets the dates of the model versions to today. Until the model is complete, it has a temporary name. So nobody uses
    or changes an incomplete model.

    Args:
        path: The file.
        experiment: Name of an experiment. If the old run of a model version was deleted before the export, the new run
            goes to this experiment. Otherwise, the new run goes to an experiment with the same name as the old run's.
        progress: Function that is called before each model version is restored. The argument is a text such as
            "version 3".

    Returns:
        The registered model's name.

    Raises:
        InputError: The file is missing, is damaged or is not an export, or the registry has a model of the same name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        contents = _unpack(path, Path(scratch))
        name = contents["name"]
        client = mlflow_runs.client()
        if client.search_registered_models(f"name = '{name}'"):
            raise InputError(
                f"the registry already has a model {name}, which is not overwritten; import the file into another "
                "registry, or first delete or rename this model in MLflow"
            )

        unfinished = f"{name}.import-{secrets.token_hex(4)}"
        client.create_registered_model(unfinished, description=contents["description"])
        runs = []
        try:
            for run_id in _restore(unfinished, contents, Path(scratch), experiment, progress):
                runs.append(run_id)
            client.rename_registered_model(unfinished, name)
        except BaseException:
            client.delete_registered_model(unfinished)
            for run_id in runs:
                client.delete_run(run_id)
            raise
    return name


def _unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Unpack an export to a folder, check every file, and return the content of CONTENTS."""
    try:
        require_file(path)
        with tarfile.open(path, "r:") as archive:
            archive.extractall(folder, filter="data")
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        problem = (
            f"is not an export of a registry: it does not contain {CONTENTS}" if path.exists() else "does not exist"
        )
        raise InputError(f"{path} {problem}; give a file that `crack-pipeline registry export` wrote") from error
    except (tarfile.TarError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or is not an export of a registry: {error}; use another copy of the file"
        ) from error

    if contents.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {contents.get('format')!r}, but this release reads format {FORMAT}; import the file "
            "with the release that wrote it"
        )

    expected = contents["sha256"]
    found = _checksums(folder / "versions", "versions")
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise InputError(f"{path} is damaged: {name} differs from the exported file; use another copy of {path}")
    return contents


def _restore(
    name: str, contents: dict[str, Any], folder: Path, experiment: str, progress: Callable[[str], None]
) -> Iterator[str]:
    """Restore all model versions into an empty registered model. Yield the id of every new run as soon as it exists."""
    client = mlflow_runs.client()
    entries = {entry["version"]: entry for entry in contents["versions"]}
    without_run: dict[str, Any] = {"experiment": experiment, "name": None, "metrics": {}, "params": {}, "tags": {}}

    for number in map(str, range(1, contents["highest"] + 1)):
        if number not in entries:
            # This model version was deleted, but the history may name it. So no other version may get its number.
            client.create_model_version(name, DELETED_SOURCE, await_creation_for=0)
            client.delete_model_version(name, number)
            continue

        progress(f"version {number}")
        entry = entries[number]
        run = entry["run"] or without_run
        run_id = client.create_run(mlflow_runs.experiment_id(run["experiment"]), run_name=run["name"]).info.run_id
        yield run_id
        source = _fill_run(run_id, run, folder / "versions" / number)
        client.create_model_version(
            name, source, run_id, entry["tags"], description=entry["description"], await_creation_for=0
        )

    for key, value in contents["tags"].items():
        client.set_registered_model_tag(name, key, value)
    for alias, number in contents["aliases"].items():
        client.set_registered_model_alias(name, alias, number)


def _fill_run(run_id: str, run: dict[str, Any], files: Path) -> str:
    """Fill a new run with the data of an exported run, and with the files of the exported model version.

    Return the address of these files in MLflow.
    """
    client = mlflow_runs.client()
    mlflow_runs.log_values(run_id, run["metrics"])
    mlflow_runs.log_params(run_id, run["params"])
    mlflow_runs.set_tags(run_id, run["tags"])

    if any((files / "run").iterdir()):
        client.log_artifacts(run_id, str(files / "run"))
    client.log_artifacts(run_id, str(files / "model"), MODEL_FOLDER)
    client.set_terminated(run_id)
    return f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"


def _checksums(folder: Path, prefix: str) -> dict[str, str]:
    """Return a dict of all files in a folder and its subfolders: name of the file in the archive -> sha256."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digests[f"{prefix}/{path.relative_to(folder).as_posix()}"] = file_digest(path)
    return digests
