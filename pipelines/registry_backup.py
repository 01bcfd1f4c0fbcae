"""A registered model in one file: every version with its files and its run, the aliases, and who promoted what.

The file is a tar archive. `versions/N/model/` holds version N's files and `versions/N/run/` those of the run that made
it; `registry.json` says the rest, with the SHA-256 of every file.
"""

import hashlib
import json
import os
import secrets
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.shared.runtime import InputError
from pipelines.registry import Registry

FORMAT = 1
CONTENTS = "registry.json"
MODEL = "registered_model"  # folder of a version's files among those of its run
NOWHERE = "s3://nowhere/deleted"  # files of a version that was deleted before the export
PER_CALL = 100  # params or tags, the tracking API's limit; it takes more metrics


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
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with tarfile.open(unfinished, "w") as archive:
            for version in versions:
                progress(f"version {version.version}")
                with tempfile.TemporaryDirectory() as scratch:
                    contents["versions"].append(_fetch(registry.client, version, Path(scratch)))
                    contents["sha256"] |= _checksums(Path(scratch), f"versions/{version.version}")
                    archive.add(scratch, f"versions/{version.version}")
            with tempfile.TemporaryDirectory() as scratch:
                listed = Path(scratch) / CONTENTS
                listed.write_text(json.dumps(contents, ensure_ascii=False, indent=1), encoding="utf-8")
                archive.add(listed, CONTENTS)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(versions)


def _fetch(client: MlflowClient, version: ModelVersion, folder: Path) -> dict[str, Any]:
    """Copy a version's files into a folder; return what else there is to say of it."""
    fetched, run_files = folder / "fetched", folder / "run"
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
    try:
        run = client.get_run(version.run_id or "")
    except MlflowException:  # the run was deleted
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


def import_registry(client: MlflowClient, path: Path, experiment: str, progress: Callable[[str], None]) -> str:
    """Restore a registered model from a file: numbers of versions, aliases and history are as they were.

    Each version gets a new run, with the last value of every metric of the old one. MLflow dates versions itself. The
    model bears another name until it is whole, so that nobody meets, or adds to, half of it.

    Args:
        client: The registry that has no model of that name.
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
        name = contents["name"]
        if client.search_registered_models(f"name = '{name}'"):
            raise InputError(
                f"the registry has a model {name} already, and none is overwritten; import into another registry, or "
                "delete or rename that model in MLflow first"
            )
        unfinished, runs = f"{name}.import-{secrets.token_hex(4)}", []
        client.create_registered_model(unfinished, description=contents["description"])
        try:
            for run_id in _restore(client, unfinished, contents, Path(scratch), experiment, progress):
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
    client: MlflowClient,
    name: str,
    contents: dict[str, Any],
    folder: Path,
    experiment: str,
    progress: Callable[[str], None],
) -> Iterator[str]:
    """Fill an empty registered model; yield the id of every run made, as soon as there is one."""
    kept = {told["version"]: told for told in contents["versions"]}
    for number in map(str, range(1, contents["highest"] + 1)):
        if number in kept:
            progress(f"version {number}")
            told, files = kept[number], folder / "versions" / number
            run = told["run"] or {"experiment": experiment, "name": None, "metrics": {}, "params": {}, "tags": {}}
            run_id = client.create_run(_experiment(client, run["experiment"]), run_name=run["name"]).info.run_id
            yield run_id
            source = _fill_run(client, run_id, run, files)
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


def _fill_run(client: MlflowClient, run_id: str, run: dict[str, Any], files: Path) -> str:
    """Log what a run and its version held; return the place of the version's files."""
    now = int(time.time() * 1000)
    logged: dict[str, list[Any]] = {
        "metrics": [Metric(key, value, now, 0) for key, value in run["metrics"].items()],
        "tags": [RunTag(key, value) for key, value in run["tags"].items()],
        "params": [Param(key, value) for key, value in run["params"].items()],
    }
    for kind, entries in logged.items():
        for start in range(0, len(entries), PER_CALL):
            batch: dict[str, Any] = {kind: entries[start : start + PER_CALL]}
            client.log_batch(run_id, **batch)
    if any((files / "run").iterdir()):
        client.log_artifacts(run_id, str(files / "run"))
    client.log_artifacts(run_id, str(files / "model"), MODEL)
    client.set_terminated(run_id)
    return f"{client.get_run(run_id).info.artifact_uri}/{MODEL}"


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found is not None else client.create_experiment(name)


def _checksums(folder: Path, prefix: str) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its name in the archive."""
    sums = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            sums[f"{prefix}/{file.relative_to(folder).as_posix()}"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return sums
