"""What the store holds that nobody needs any more: data set versions, histories of sources, shards, results.

Needed is what a registered version or a run of the last days was made of, and whatever is younger than that. So is what
the next ingestion of a source goes on from, as long as a needed version has pictures of that source: forgotten, they
could come back in other groups, and so in other splits than those that a model was trained on. A source that no needed
version knows, such as the archive of a day long past, is forgotten with its version. Results of steps, checkpoints
among them, are kept for reuse only; a registered version carries its model itself. The ledger of splits is small, and
stays.
"""

import datetime
import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from mlflow.tracking import MlflowClient
from rich.table import Table

from components.shared.data.versions import COMMIT, read_version
from components.shared.services.mlflow_runs import DATASET, every
from components.shared.services.store import MissingObjectError, Store, StoredObject

LATEST = "latest.json"  # of a source, as components/ingest/source_history.py writes it
VISIBLE = (f"/{COMMIT}", f"/{LATEST}")  # without these there is no version, and no history


@dataclass(frozen=True)
class Leftover:
    """Something that may go.

    Attributes:
        kind: "data set version", "shard", "source history" or "results".
        name: Its digest or key.
        keys: Its objects, in the order in which they are deleted: what makes it visible comes first.
        size: Bytes.
        changed: When anything in it last changed.
    """

    kind: str
    name: str
    keys: tuple[str, ...]
    size: int
    changed: datetime.datetime


def find_leftovers(
    store: Store, client: MlflowClient, days: float, now: datetime.datetime | None = None
) -> list[Leftover]:
    """Return what may go, the largest first.

    Args:
        store: Storage root.
        client: Of the MLflow server that keeps runs and versions.
        days: Nothing younger goes, and nothing that a run of this time was made of.
        now: The time to count back from; None: this moment.
    """
    since = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(days=days)
    versions, sources = _folders(store.objects("datasets/")), _folders(store.objects("sources/"))
    shards = {one.key.removeprefix("shards/"): [one] for one in store.objects("shards/")}
    parts = {name: _shards(store, name) for name in versions}
    latest = {name: _latest(store, name) for name in sources}
    asked_for = _versions_of_models_and_runs(client, since) & set(versions)
    useful = frozenset[str]().union(*(parts[name] for name in asked_for))
    alive = [name for name, version in latest.items() if version in parts and useful & parts[version]]
    forgotten = _unneeded("source history", sources, alive, since)
    remembered = {latest[name] or "" for name in set(sources) - {one.name for one in forgotten}}
    old = _unneeded("data set version", versions, asked_for | remembered, since)
    used = frozenset[str]().union(*(parts[name] for name in set(versions) - {one.name for one in old}))
    results = _unneeded("results", _folders(store.objects("runs/")), (), since)
    return sorted([*forgotten, *old, *_unneeded("shard", shards, used, since), *results], key=lambda one: -one.size)


def delete(store: Store, leftovers: Iterable[Leftover]) -> None:
    """Delete, what refers to others before these; each is invisible from its first deletion on."""
    order = ["source history", "data set version", "results", "shard"]
    for leftover in sorted(leftovers, key=lambda one: order.index(one.kind)):
        for key in leftover.keys[:1]:
            store.delete([key])
        store.delete(leftover.keys[1:])


def leftovers_table(leftovers: list[Leftover], days: float) -> Table:
    """Show what may go, with sizes."""
    now = datetime.datetime.now(datetime.UTC)
    total = sum(leftover.size for leftover in leftovers)
    table = Table(title=f"Not needed for {days:g} days: {_readable(total)} in {len(leftovers)}", title_justify="left")
    for title, side in (("kind", "left"), ("name", "left"), ("objects", "right"), ("size", "right"), ("days", "right")):
        table.add_column(title, justify=side)  # type: ignore[arg-type]
    for one in leftovers:
        table.add_row(one.kind, one.name[:20], str(len(one.keys)), _readable(one.size), str((now - one.changed).days))
    return table


def _versions_of_models_and_runs(client: MlflowClient, since: datetime.datetime) -> set[str]:
    """Digests of the versions that registered models or recent runs were made of."""
    needed = {
        version.tags[DATASET]
        for model in every(client.search_registered_models)
        for version in every(client.search_model_versions, f"name = '{model.name}'")
        if DATASET in version.tags
    }
    experiments = [experiment.experiment_id for experiment in every(client.search_experiments)]
    for run in every(client.search_runs, experiments, f"attributes.start_time >= {since.timestamp() * 1000:.0f}"):
        if DATASET in run.data.tags:
            needed.add(run.data.tags[DATASET])
    return needed


def _folders(objects: Iterable[StoredObject]) -> dict[str, list[StoredObject]]:
    """Objects by the folder after the first: `datasets/NAME/…` -> NAME."""
    folders = defaultdict(list)
    for one in objects:
        _, name, *rest = one.key.split("/")
        if rest:
            folders[name].append(one)
    return dict(folders)


def _shards(store: Store, version: str) -> frozenset[str]:
    """The shards that a version consists of; none where it is half-written, or half-deleted."""
    told = read_version(store, version)
    return frozenset(told.shards if told else ())


def _latest(store: Store, source: str) -> str | None:
    """The version that the next ingestion of a source goes on from."""
    try:
        return json.loads(store.get_bytes(f"sources/{source}/{LATEST}"))["version"]
    except MissingObjectError:
        return None


def _unneeded(
    kind: str, folders: dict[str, list[StoredObject]], kept: Collection[str], since: datetime.datetime
) -> list[Leftover]:
    """Those folders that are not kept, and in which nothing changed since then."""
    found = []
    for name, objects in folders.items():
        changed = max(one.changed for one in objects)
        if name not in kept and changed < since:
            keys = sorted((one.key for one in objects), key=lambda key: (not key.endswith(VISIBLE), key))
            found.append(Leftover(kind, name, tuple(keys), sum(one.size for one in objects), changed))
    return found


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
