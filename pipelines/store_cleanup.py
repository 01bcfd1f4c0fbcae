"""Find and delete stored data that no model or recent run needs.

We keep the data set versions that a registered model or a recent run used, and everything that changed in the last
`days` days. In this text, these `days` days are called the limit.

We also keep the history of a source while a kept data set version contains images of the source. The next ingestion of
the source continues this history. Without the history, that ingestion could put the images into other groups. The
images could then be in other splits than in the training of a model.

A pipeline job appears in MLflow only when its training starts. Until then, two rules protect the data of the job:

- Everything that the job writes is newer than the limit.
- When the step ingest starts, it writes an object into the history of each of its sources. So the history is newer than
  the limit, and is kept. If we keep a history, we also keep the data set version from which the next ingestion
  continues, and the shards of this version.

Both rules need a limit that is longer than any run. So `require_longer_than_a_run` refuses a shorter limit. In a
workdir, the limit may be shorter, because gc locks the workdir, and no run can use it at the same time. gc does not
lock a store. If a run starts while gc deletes objects, the run may need a data set version that gc has just deleted.
The run then stops with a message that says so, and a second run makes the version again.

Results of steps, with their checkpoints, only save time if a run is repeated. A registered model version has files of
its own, so old results are deleted. The ledger, which records the splits of all groups, is small and is always kept.
"""

import datetime
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from rich.table import Table

from components.shared.data.versions import COMMIT, read_version
from components.shared.errors import InputError
from components.shared.services import bucket_versions
from components.shared.services.mlflow_runs import DATASET, JOB, every
from components.shared.services.records import read_record
from components.shared.services.store import MissingObjectError, Store, StoredObject

LATEST_OF_SOURCE = "latest.json"  # written by components/ingest/source_records.py
ADVICE_IF_DAMAGED = "restore it from a backup of the store; until then nothing is deleted"
# A reader finds a data set version, or a source history, by a file with one of these names. It is deleted first.
VISIBLE_BY = (f"/{COMMIT}", f"/{LATEST_OF_SOURCE}")
RUN_FOLDER = "run folder"
FOLDERS = ("datasets/", "sources/", "runs/", "shards/")
SECONDS_PER_DAY = 86_400
# No run takes this long. If an older MLflow run has not ended, its process died.
LONGEST_RUN = datetime.timedelta(days=30)
# A source history refers to data set versions, and a data set version refers to shards. An object is deleted before the
# objects that it refers to.
DELETION_ORDER = ("source history", "data set version", "results", "shard")


@dataclass(frozen=True)
class SourceHistory:
    """The part of latest.json that we need: the data set version from which the source's next ingestion continues."""

    version: str


@dataclass(frozen=True)
class Leftover:
    """Stored data that can be deleted.

    Attributes:
        kind: "data set version", "shard", "source history", "results", "run folder", "failed version" or "model files".
        name: Name of the data, such as a digest, the name of a run folder, or MODEL/VERSION.
        keys: Keys of the objects, or paths of the files. Objects are in the order of deletion: the object by which
            readers find the data comes first. Empty for a failed version.
        size: Bytes.
        changed: Time of the last change to any of these objects.
    """

    kind: str
    name: str
    keys: tuple[str, ...]
    size: int
    changed: datetime.datetime


def require_longer_than_a_run(days: float, run_deadline: int) -> None:
    """Raise InputError if a run may take longer than `days` days. A run may take at most `run_deadline` seconds."""
    longest = run_deadline / SECONDS_PER_DAY
    if days < longest:
        raise InputError(
            f"--days is {days:g}, but a run may take {longest:g} days (cluster.run_deadline), and its data must not be "
            f"deleted before its training starts; give --days {longest:g} or more"
        )


def find_leftovers(
    store: Store, client: MlflowClient, days: float, now: datetime.datetime | None = None
) -> list[Leftover]:
    """Return the data that can be deleted, the largest first.

    Args:
        store: The storage root.
        client: Client of the MLflow server that keeps runs and registered models.
        days: We keep objects that changed in the last `days` days, and the data of runs that started in these days. If
            a run has not ended, we also keep its data, and all objects that changed since its start.
        now: The time to count back from. None means the current time.
    """
    since = kept_since(client, days, now)
    running = running_runs(client)

    versions = _folders(store.objects("datasets/"))
    sources = _folders(store.objects("sources/"))
    results = _folders(store.objects("runs/"))
    shards = {found.key.removeprefix("shards/"): [found] for found in store.objects("shards/")}

    shards_of = {version: _shards(store, version) for version in versions}
    latest_of = {source: _latest_version(store, source) for source in sources}

    # Models and recent runs need these data set versions. If the latest version of a source shares a shard with one of
    # them, the history of the source is needed too.
    used_versions = _versions_of_models_and_runs(client, since, running) & set(versions)
    used_shards = _all_shards(shards_of, used_versions)
    used_sources = set()
    for source, version in latest_of.items():
        if used_shards & shards_of.get(version or "", frozenset()):
            used_sources.add(source)
    old_sources = _unneeded("source history", sources, used_sources, since)

    # A source history that stays needs its latest data set version, because the next ingestion continues from it.
    kept_sources = set(sources) - _names(old_sources)
    continued_versions = {latest_of[source] or "" for source in kept_sources}
    old_versions = _unneeded("data set version", versions, used_versions | continued_versions, since)

    # A data set version that stays needs its shards.
    kept_versions = set(versions) - _names(old_versions)
    old_shards = _unneeded("shard", shards, _all_shards(shards_of, kept_versions), since)

    old_results = _unneeded("results", results, (), since)
    leftovers = [*old_sources, *old_versions, *old_shards, *old_results]
    return sorted(leftovers, key=lambda leftover: -leftover.size)


def kept_since(client: MlflowClient, days: float, now: datetime.datetime | None = None) -> datetime.datetime:
    """Return the earlier of two times: `days` days ago, and the start of the oldest running run. Newer data is kept."""
    since = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(days=days)
    starts = [_started(run) for run in running_runs(client)]
    return min([since, *starts])


def delete(store: Store, leftovers: Iterable[Leftover]) -> None:
    """Delete leftovers. As soon as the first object of a leftover is deleted, readers no longer find the leftover."""
    for leftover in sorted(leftovers, key=lambda leftover: DELETION_ORDER.index(leftover.kind)):
        visible_by, *others = leftover.keys
        store.delete([visible_by])
        store.delete(others)


def remove_versions(store: Store, leftovers: Iterable[Leftover], days: float) -> str:
    """Remove the versions of deleted objects from a bucket that keeps versions. This frees their space.

    Args:
        store: The storage root.
        leftovers: Leftovers that were deleted just now.
        days: Also remove the versions of objects that were deleted more than this number of days ago.

    Returns:
        The freed space and the number of objects, as a text for people.
    """
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    now_deleted: set[str] = set()
    for leftover in leftovers:
        now_deleted.update(leftover.keys)

    deleted = bucket_versions.deleted_objects(store, FOLDERS, since, now_deleted)
    bucket_versions.remove_versions(store, deleted)
    return f"{_readable(sum(one.size for one in deleted))} in {len(deleted)}"


def leftovers_table(leftovers: list[Leftover], days: float) -> Table:
    """Return a table of the data that can be deleted, with sizes."""
    now = datetime.datetime.now(datetime.UTC)
    total = _readable(sum(leftover.size for leftover in leftovers))
    table = Table(title=f"Not needed for {days:g} days: {total} in {len(leftovers)}", title_justify="left")

    table.add_column("kind")
    table.add_column("name")
    for title in ("objects", "size", "days"):
        table.add_column(title, justify="right")

    for leftover in leftovers:
        age = (now - leftover.changed).days
        table.add_row(leftover.kind, leftover.name[:20], str(len(leftover.keys)), _readable(leftover.size), str(age))
    return table


def _names(leftovers: Iterable[Leftover]) -> set[str]:
    return {leftover.name for leftover in leftovers}


def _versions_of_models_and_runs(client: MlflowClient, since: datetime.datetime, running: Iterable[Run]) -> set[str]:
    """Return the digests of the data set versions that were used by registered models, recent runs or running runs."""
    digests: set[str | None] = set()
    for run in running:
        digests.add(run.data.tags.get(DATASET))

    for model in every(client.search_registered_models):
        for version in every(client.search_model_versions, f"name = '{model.name}'"):
            digests.add(version.tags.get(DATASET))

    recent = f"attributes.start_time >= {since.timestamp() * 1000:.0f}"
    for run in every(client.search_runs, experiments(client), recent):
        digests.add(run.data.tags.get(DATASET))

    return {digest for digest in digests if digest}


def running_runs(client: MlflowClient) -> list[Run]:
    """Return the MLflow runs that have not ended. These include recent runs whose process died."""
    return [run for run in _without_end(client) if not _is_dead(run)]


def end_dead_runs(client: MlflowClient, all_are_dead: bool) -> int:
    """Find the MLflow runs whose process died, and set their status to KILLED. Return the number of these runs.

    Args:
        client: Client of the MLflow server.
        all_are_dead: True if the caller knows that no run is alive, because the caller has locked the workdir. False:
            only runs of this project that started more than 30 days ago (LONGEST_RUN) count as dead.
    """
    dead = [run for run in _without_end(client) if all_are_dead or _is_dead(run)]
    for run in dead:
        client.set_terminated(run.info.run_id, "KILLED")
    return len(dead)


def _without_end(client: MlflowClient) -> list[Run]:
    return list(every(client.search_runs, experiments(client), "attributes.status = 'RUNNING'"))


def _is_dead(run: Run) -> bool:
    return JOB in run.data.tags and datetime.datetime.now(datetime.UTC) - _started(run) > LONGEST_RUN


def _started(run: Run) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(run.info.start_time / 1000, datetime.UTC)


def experiments(client: MlflowClient) -> list[str]:
    """Return the ids of all experiments."""
    return [experiment.experiment_id for experiment in every(client.search_experiments)]


def find_run_folders(workdir: Path, days: float) -> list[Leftover]:
    """Return the folders of local runs that are older than `days` days.

    If a link in the workdir leads to a file in a folder, the folder is kept.
    """
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    linked = {path.resolve().parent for path in workdir.iterdir() if path.is_symlink()}

    leftovers = []
    for folder in sorted((workdir / "runs").glob("*/")):
        files = [path for path in folder.rglob("*") if path.is_file()]
        changed = datetime.datetime.fromtimestamp(folder.stat().st_mtime, datetime.UTC)
        if changed < since and folder.resolve() not in linked:
            names = tuple(path.relative_to(workdir).as_posix() for path in files)
            size = sum(path.stat().st_size for path in files)
            leftovers.append(Leftover(RUN_FOLDER, folder.name, names, size, changed))
    return leftovers


def delete_run_folders(workdir: Path, leftovers: Iterable[Leftover]) -> None:
    """Delete folders of local runs."""
    for leftover in leftovers:
        shutil.rmtree(workdir / "runs" / leftover.name)


def _folders(objects: Iterable[StoredObject]) -> dict[str, list[StoredObject]]:
    """Return a dict: NAME -> the objects with keys such as `datasets/NAME/…`."""
    folders = defaultdict(list)
    for found in objects:
        _, name, *rest = found.key.split("/")
        if rest:
            folders[name].append(found)
    return dict(folders)


def _shards(store: Store, version: str) -> frozenset[str]:
    """Return the shards of a data set version; an empty set if the version is incomplete."""
    found = read_version(store, version)
    return frozenset(found.shards if found else ())


def _all_shards(shards_of: Mapping[str, frozenset[str]], versions: Iterable[str]) -> frozenset[str]:
    """Return the shards of several data set versions."""
    shards: frozenset[str] = frozenset()
    for version in versions:
        shards |= shards_of[version]
    return shards


def _latest_version(store: Store, source: str) -> str | None:
    """Return the data set version from which the next ingestion of a source continues, or None if there is none."""
    try:
        record = read_record(store, f"sources/{source}/{LATEST_OF_SOURCE}", SourceHistory, ADVICE_IF_DAMAGED)
        return record.version
    except MissingObjectError:
        return None


def _unneeded(
    kind: str, folders: Mapping[str, list[StoredObject]], kept: Collection[str], since: datetime.datetime
) -> list[Leftover]:
    """Return the folders that are not in `kept` and that did not change after `since`."""
    leftovers = []
    for name, objects in folders.items():
        changed = max(found.changed for found in objects)
        if name not in kept and changed < since:
            keys = [found.key for found in objects]
            keys.sort(key=lambda key: (not key.endswith(VISIBLE_BY), key))
            size = sum(found.size for found in objects)
            leftovers.append(Leftover(kind, name, tuple(keys), size, changed))
    return leftovers


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
