"""What earlier ingestions of the same sources found out, so that no file is looked at twice and no group changes.

In the store, `sources/KEY/` belongs to one source under one configuration: `index.parquet` holds what was found in each
file, `latest.json` names the version that the source last became part of and the state of all sources that made it.
With the first of several sources lie the reports of that ingestion: its files may be others than those that first made
the version. All are written after the version's commit, `latest.json` last. Whoever deletes them ingests anew, and
groups anew.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.ingest.config import IngestConfig
from components.ingest.examination import THUMBNAIL, Picture, Refusal
from components.ingest.layouts import Item
from components.ingest.selection import Past
from components.ingest.sources import Source
from components.shared.runtime import digest, log
from components.shared.shards import Place, read_commit
from components.shared.storage import MissingObjectError, Store

FORMAT = 1  # raise it when what is found in a file changes its meaning
PLAIN = [field.name for field in fields(Picture) if field.name not in ("item", "thumbnail")]
PASSING = ("layout", "max_unpacked", "max_refused", "min_images")  # parameters that change no finding and no group
PAIRS = "near_duplicates.parquet"  # in a version: sample_ids of pictures that look the same


@dataclass(frozen=True)
class Previous:
    """The version that the sources last were part of.

    Attributes:
        digest: Its name; None where there is none.
        past: Its groups and near duplicates.
        places: Where its images lie, by sample_id and mask_id.
        shards: Size by name of its shards.
    """

    digest: str | None
    past: Past
    places: dict[tuple[str, str | None], Place]
    shards: dict[str, int]


class History:
    """What the store knows of the given sources; under the key `folder` are the reports of their last ingestion."""

    def __init__(self, store: Store, sources: list[Source], config: IngestConfig):
        self._store, self._sources = store, sources
        parameters = config.identity()
        lasting = {name: value for name, value in parameters.items() if name not in PASSING}
        self._keys = {s.name: digest(FORMAT, s.uri, s.name, lasting) for s in sources}
        self.folder = f"sources/{next(iter(self._keys.values()))}"
        self._state = digest(
            [
                [s.uri, [(i.path, i.label, i.surface, i.group, i.mask, i.source, i.tag) for i in s.items]]
                for s in sources
            ],
            parameters,
        )
        self._latest = {name: self._read_latest(key) for name, key in self._keys.items()}

    def unchanged(self) -> str | None:
        """Digest of the version that just these sources, just as they are now, were made into; None without one."""
        told = next(iter(self._latest.values()))
        known = all(item.tag for source in self._sources for item in source.items)
        same = known and told is not None and told["state"] == self._state
        return told["version"] if told and same and read_commit(self._store, told["version"]) else None

    def previous(self) -> Previous:
        """The version that the first of the sources with a past was part of, if the store holds it; else nothing."""
        for told in filter(None, self._latest.values()):
            committed = read_commit(self._store, told["version"])
            if committed is not None:
                return self._read_version(told["version"], committed["shards"])
        return Previous(None, Past(), {}, {})

    def known(self) -> dict[Item, Picture | Refusal]:
        """Of every file that an earlier ingestion examined and that did not change since: what it found."""
        found: dict[Item, Picture | Refusal] = {}
        for source in self._sources:
            by_path = {item.path: item for item in source.items if item.tag}
            for path, tag, result in self._read_index(self._keys[source.name]):
                item = by_path.get(path)
                if item is not None and item.tag == tag:
                    found[item] = Refusal(item, result) if isinstance(result, str) else Picture(item, **result)
        return found

    def remember(self, version: str, found: list[Picture | Refusal], reports: list[Path]) -> None:
        """Keep what was found in the sources' files, which version they became, and these files that say so."""
        for report in reports:
            self._store.put_file(f"{self.folder}/{report.name}", report)
        for source in self._sources:
            mine = [one for one in found if one.item.source == source.name and one.item.tag]
            key = self._keys[source.name]
            if mine:
                self._store.put_bytes(f"sources/{key}/index.parquet", _to_parquet(mine))
            latest = {"source": source.name, "state": self._state, "version": version}
            self._store.put_bytes(f"sources/{key}/latest.json", json.dumps(latest).encode())

    def _read_latest(self, key: str) -> dict[str, str] | None:
        try:
            return json.loads(self._store.get_bytes(f"sources/{key}/latest.json"))
        except MissingObjectError:
            return None

    def _read_index(self, key: str) -> Iterable[tuple[str, str, str | dict[str, Any]]]:
        try:
            return _rows(_columns(self._store.get_bytes(f"sources/{key}/index.parquet")))
        except MissingObjectError:
            return []
        except (pa.ArrowException, OSError) as error:
            log.warning("the index of a source cannot be read, so all of its files are looked at again: %s", error)
            return []

    def _read_version(self, version: str, shards: dict[str, int]) -> Previous:
        rows = _columns(self._store.get_bytes(f"datasets/{version}/manifest.parquet"))
        pairs = _columns(self._store.get_bytes(f"datasets/{version}/{PAIRS}"))
        past = Past(
            dict(zip(rows["sample_id"], rows["group_id"], strict=True)),
            list(zip(pairs["first"], pairs["second"], strict=True)),
        )
        where = zip(*(rows[field.name] for field in fields(Place)), strict=True)
        masks = rows["mask_id"]
        places = {(row[0], mask): Place(*row) for row, mask in zip(where, masks, strict=True)}
        return Previous(version, past, places, shards)


def _columns(data: bytes) -> dict[str, list]:
    return pq.read_table(BytesIO(data)).to_pydict()


def _to_parquet(found: list[Picture | Refusal]) -> bytes:
    blank = bytes(THUMBNAIL * THUMBNAIL)
    columns = {
        "path": [one.item.path for one in found],
        "tag": [one.item.tag for one in found],
        "reason": [one.reason if isinstance(one, Refusal) else None for one in found],
        "thumbnail": [one.thumbnail.tobytes() if isinstance(one, Picture) else blank for one in found],
        **{name: [getattr(one, name, None) for one in found] for name in PLAIN},
    }
    buffer = BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="none", use_dictionary=False)  # noise, and hashes of noise
    return buffer.getvalue()


def _rows(columns: dict[str, list]) -> Iterable[tuple[str, str, str | dict[str, Any]]]:
    """Path, tag, and the reason of a refusal or a picture's other attributes, of each file."""
    thumbnails = (np.frombuffer(t, np.uint8).reshape(THUMBNAIL, THUMBNAIL) for t in columns["thumbnail"])
    plain = (dict(zip(PLAIN, row, strict=True)) for row in zip(*(columns[name] for name in PLAIN), strict=True))
    for path, tag, reason, thumbnail, row in zip(
        columns["path"], columns["tag"], columns["reason"], thumbnails, plain, strict=True
    ):
        yield path, tag, reason if reason is not None else {**row, "thumbnail": thumbnail}
