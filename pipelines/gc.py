"""What the store holds that nobody needs any more: data set versions, shards, results and checkpoints.

Needed is what a registered version or a run of the last days was made of, what the next ingestion of a source goes on
from, and whatever is younger than that. Results of steps are kept for reuse only; a registered version carries its
model itself.
"""

import datetime
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from mlflow.tracking import MlflowClient
from rich.table import Table

from components.shared.shards import COMMIT
from components.shared.storage import Store, StoredObject
from components.shared.tracking import DATASET


@dataclass(frozen=True)
class Leftover:
    """Something that may go.

    Attributes:
        kind: "data set version", "shard" or "results".
        name: Its digest or run key.
        keys: Its objects, in the order in which they are deleted: what makes it visible comes first.
        size: Bytes.
        age: Days since anything in it changed.
    """

    kind: str
    name: str
    keys: tuple[str, ...]
    size: int
    age: float


def find_leftovers(store: Store, client: MlflowClient, days: float) -> list[Leftover]:
    """Return what may go, the largest first.

    Args:
        store: Storage root.
        client: Of the MLflow server that keeps runs and versions.
        days: Nothing younger goes, and nothing that a run of this time was made of.
    """
    now = datetime.datetime.now(datetime.UTC)
    versions = _folders(store.objects("datasets/"))
    kept = _needed_versions(store, client, days)
    found = [
        _leftover("data set version", name, objects, now)
        for name, objects in versions.items()
        if name not in kept and _age(objects, now) > days
    ]
    going = {leftover.name for leftover in found}
    used = {shard for name in versions if name not in going for shard in _shards_of(store, name)}
    for shard in store.objects("shards/"):
        if shard.key.removeprefix("shards/") not in used and _age([shard], now) > days:
            found.append(_leftover("shard", shard.key.removeprefix("shards/"), [shard], now))
    for name, objects in _folders(store.objects("runs/")).items():
        if _age(objects, now) > days:
            found.append(_leftover("results", name, objects, now))
    return sorted(found, key=lambda leftover: -leftover.size)


def delete(store: Store, leftovers: Iterable[Leftover]) -> None:
    """Delete, versions before the shards that they refer to; each is invisible from its first deletion on."""
    order = {"data set version": 0, "results": 1, "shard": 2}
    for leftover in sorted(leftovers, key=lambda one: order[one.kind]):
        for key in leftover.keys[:1]:
            store.delete([key])
        store.delete(leftover.keys[1:])


def leftovers_table(leftovers: list[Leftover], days: float) -> Table:
    """Show what may go, with sizes."""
    total = sum(leftover.size for leftover in leftovers)
    table = Table(title=f"Not needed for {days:g} days: {_readable(total)} in {len(leftovers)}", title_justify="left")
    for title, side in (("kind", "left"), ("name", "left"), ("objects", "right"), ("size", "right"), ("days", "right")):
        table.add_column(title, justify=side)  # type: ignore[arg-type]
    for one in leftovers:
        table.add_row(one.kind, one.name[:20], str(len(one.keys)), _readable(one.size), f"{one.age:.0f}")
    return table


def _needed_versions(store: Store, client: MlflowClient, days: float) -> set[str]:
    """Digests of versions that registered models, recent runs, or the next ingestion of a source need."""
    needed = {
        version.tags[DATASET]
        for model in _all(client.search_registered_models)
        for version in _all(client.search_model_versions, f"name = '{model.name}'")
        if DATASET in version.tags
    }
    since = int((time.time() - days * 86400) * 1000)
    experiments = [experiment.experiment_id for experiment in _all(client.search_experiments)]
    for run in _all(client.search_runs, experiments, f"attributes.start_time >= {since}"):
        if DATASET in run.data.tags:
            needed.add(run.data.tags[DATASET])
    for one in store.objects("sources/"):
        if one.key.endswith("/latest.json"):
            needed.add(json.loads(store.get_bytes(one.key))["version"])
    return needed


def _all(search, *arguments) -> Iterable:
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _folders(objects: Iterable[StoredObject]) -> dict[str, list[StoredObject]]:
    """Objects by the folder after the first: `datasets/NAME/…` -> NAME."""
    folders = defaultdict(list)
    for one in objects:
        _, name, *rest = one.key.split("/")
        if rest:
            folders[name].append(one)
    return dict(folders)


def _shards_of(store: Store, version: str) -> list[str]:
    key = f"datasets/{version}/{COMMIT}"
    return list(json.loads(store.get_bytes(key))["shards"]) if store.exists(key) else []


def _leftover(kind: str, name: str, objects: list[StoredObject], now: datetime.datetime) -> Leftover:
    keys = sorted((one.key for one in objects), key=lambda key: (not key.endswith(f"/{COMMIT}"), key))
    return Leftover(kind, name, tuple(keys), sum(one.size for one in objects), _age(objects, now))


def _age(objects: list[StoredObject], now: datetime.datetime) -> float:
    return (now - max(one.changed for one in objects)).total_seconds() / 86400


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
