"""A registered model in one file: every version with its files and its run, the aliases, and who promoted what.

The file is a tar archive. `versions/N/model/` holds version N's files and `versions/N/run/` those of the run that made
it; `registry.json` says the rest, with the SHA-256 of every file.
"""

import hashlib
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

from components.shared.errors import InputError
from components.shared.services import mlflow_runs
from pipelines.registry.promotions import Registry
from pipelines.registry.whole_file import whole_file

FORMAT = 1
CONTENTS = "registry.json"
MODEL = "registered_model"  # folder of a version's files among those of its run
NOWHERE = "s3://nowhere/deleted"  # files of a version that was deleted before the export


def export_registry(registry: Registry, path: Path, progress: Callable[[str], None]) -> int:
    """Write a registered model into a file, which appears whole at the end, or not at all.

    Args:
        registry: The registered model.
        path: The file.
        progress: Told what is being copied.

    Returns:
        The number of versions.

    Raises:
        InputError: The file exists already, or a version's files cannot be read.
    """
    if path.exists():
        raise InputError(f"{path} exists already and is not overwritten; name another file")
    registry.settle()
    model = registry.client.get_registered_model(registry.name)
    versions = registry.versions()[::-1]  # read after the aliases, so that each alias's version is among them
    numbers = [int(version.version) for version in versions] + [int(entry.target) for entry in registry.history()]
    contents: dict[str, Any] = {
        "format": FORMAT,
        "name": registry.name,
        "description": model.description or "",
        "tags": model.tags,
        "aliases": {alias: str(number) for alias, number in model.aliases.items()},
        "highest": max(numbers, default=0),
        "versions": [],
        "sha256": {},
    }
    with whole_file(path) as unfinished, tarfile.open(unfinished, "w") as archive:
        for version in versions:
            progress(f"version {version.version}")
            with tempfile.TemporaryDirectory() as scratch:
                contents["versions"].append(_fetch(registry, version, Path(scratch)))
                contents["sha256"] |= _checksums(Path(scratch), f"versions/{version.version}")
                archive.add(scratch, f"versions/{version.version}")
        with tempfile.TemporaryDirectory() as scratch:
            listed = Path(scratch) / CONTENTS
            listed.write_text(json.dumps(contents, ensure_ascii=False, indent=1), encoding="utf-8")
            archive.add(listed, CONTENTS)
    return len(versions)


def _fetch(registry: Registry, version: ModelVersion, folder: Path) -> dict[str, Any]:
    """Copy a version's files into a folder; return what else there is to say of it."""
    client, fetched, run_files = registry.client, folder / "fetched", folder / "run"
    fetched.mkdir()
    run_files.mkdir()
    try:
        source = client.get_model_version_download_uri(version.name, str(version.version))
        Path(download_artifacts(source, dst_path=str(fetched))).rename(folder / "model")  # it may be a folder in it
        shutil.rmtree(fetched, ignore_errors=True)
    except (MlflowException, OSError) as error:
        raise InputError(
            f"the files of {version.name} version {version.version} cannot be read: {error}; bring them back, or "
            "delete the version in MLflow"
        ) from error
    told: dict[str, Any] = {
        "version": str(version.version),
        "description": version.description or "",
        "tags": version.tags,
        "run": None,
    }
    run = registry.run(version)
    if run is None:
        return told
    client.download_artifacts(run.info.run_id, "", str(run_files))
    told["run"] = {
        "name": run.info.run_name,
        "experiment": client.get_experiment(run.info.experiment_id).name,
        "metrics": run.data.metrics,
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
    }
    return told


def import_registry(path: Path, experiment: str, progress: Callable[[str], None]) -> str:
    """Restore a registered model from a file: numbers of versions, aliases and history are as they were.

    Each version gets a new run, with the last value of every metric of the old one. MLflow dates versions itself. The
    model bears another name until it is whole, so that nobody meets, or adds to, half of it.

    Args:
        path: The file.
        experiment: Where the runs of versions go whose own run was lost; the others go where they were.
        progress: Told what is being copied.

    Returns:
        The registered model's name.

    Raises:
        InputError: The file is missing, damaged or no export, or the registry has a model of that name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        contents = _unpack(path, Path(scratch))
        name, client = contents["name"], mlflow_runs.client()
        if client.search_registered_models(f"name = '{name}'"):
            raise InputError(
                f"the registry has a model {name} already, and none is overwritten; import into another registry, or "
                "delete or rename that model in MLflow first"
            )
        unfinished, runs = f"{name}.import-{secrets.token_hex(4)}", []
        client.create_registered_model(unfinished, description=contents["description"])
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
    try:
        with tarfile.open(path, "r:") as archive:
            archive.extractall(folder, filter="data")
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = "does not exist" if not path.exists() else f"is no export of a registry: it holds no {CONTENTS}"
        raise InputError(f"{path} {what}; `crack-pipeline registry export` writes one") from error
    except (tarfile.TarError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged or no export of a registry: {error}; use another copy of it") from error
    if contents.get("format") != FORMAT:
        raise InputError(f"{path} has format {contents.get('format')!r}, not {FORMAT}; import it with its own release")
    listed, found = contents["sha256"], _checksums(folder / "versions", "versions")
    wrong = sorted(name for name in {*listed, *found} if listed.get(name) != found.get(name))
    if wrong:
        raise InputError(f"{path} is damaged: {wrong[0]} is not as exported; use another copy of it")
    return contents


def _restore(
    name: str, contents: dict[str, Any], folder: Path, experiment: str, progress: Callable[[str], None]
) -> Iterator[str]:
    """Fill an empty registered model; yield the id of every run made, as soon as there is one."""
    client = mlflow_runs.client()
    kept = {told["version"]: told for told in contents["versions"]}
    for number in map(str, range(1, contents["highest"] + 1)):
        if number in kept:
            progress(f"version {number}")
            told, files = kept[number], folder / "versions" / number
            run = told["run"] or {"experiment": experiment, "name": None, "metrics": {}, "params": {}, "tags": {}}
            run_id = client.create_run(mlflow_runs.experiment_id(run["experiment"]), run_name=run["name"]).info.run_id
            yield run_id
            source = _fill_run(run_id, run, files)
            client.create_model_version(
                name, source, run_id, told["tags"], description=told["description"], await_creation_for=0
            )
        else:  # a number once given is not given again: the history may name it
            client.create_model_version(name, NOWHERE, await_creation_for=0)
            client.delete_model_version(name, number)
    for key, value in contents["tags"].items():
        client.set_registered_model_tag(name, key, value)
    for alias, number in contents["aliases"].items():
        client.set_registered_model_alias(name, alias, number)


def _fill_run(run_id: str, run: dict[str, Any], files: Path) -> str:
    """Log what a run and its version held; return the place of the version's files."""
    client = mlflow_runs.client()
    mlflow_runs.log_values(run_id, run["metrics"])
    mlflow_runs.log_params(run_id, run["params"])
    mlflow_runs.set_tags(run_id, run["tags"])
    if any((files / "run").iterdir()):
        client.log_artifacts(run_id, str(files / "run"))
    client.log_artifacts(run_id, str(files / "model"), MODEL)
    client.set_terminated(run_id)
    return f"{client.get_run(run_id).info.artifact_uri}/{MODEL}"


def _checksums(folder: Path, prefix: str) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its name in the archive."""
    sums = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            sums[f"{prefix}/{file.relative_to(folder).as_posix()}"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return sums
