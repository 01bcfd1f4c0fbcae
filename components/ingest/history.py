"""What earlier ingestions of the same sources found out, so that no file is looked at twice and no group changes.

In the store, `sources/KEY/` belongs to one source under one configuration: `index.parquet` holds what was found in each
file, `latest.json` names the version that the source last became part of and the state of all sources that made it.
With the first of several sources lie the reports of that ingestion: its files may be others than those that first made
the version. All are written after the version's commit, `latest.json` last. Whoever deletes them ingests anew, and
groups anew.
"""

import json
import tempfile
from collections.abc import Iterator
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
from components.ingest.uri import SourceUri, absolute
from components.shared.runtime import digest, log
from components.shared.shards import Place, read_commit
from components.shared.storage import MissingObjectError, Store

FORMAT = 1  # raise it when what is found in a file changes its meaning
ROWS = 4096  # of the index, in memory at once
PLAIN = [field.name for field in fields(Picture) if field.name not in ("item", "thumbnail")]
PASSING = ("layout", "max_unpacked", "max_refused", "min_images")  # parameters that change no finding and no group
INDEX = pa.schema(
    [(name, pa.string()) for name in ("path", "tag", "reason", "sample_id", "suffix", "mask_id", "mask_suffix")]
    + [(name, pa.int64()) for name in ("width", "height", "file_size")]
    + [(name, pa.float64()) for name in ("brightness", "contrast", "darkest")]
    + [("thumbnail", pa.binary())]
)
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

    def __init__(self, store: Store, uris: list[SourceUri], config: IngestConfig):
        self._store, self._uris, self._parameters = store, uris, config.identity()
        lasting = {name: value for name, value in self._parameters.items() if name not in PASSING}
        self._keys = {uri: digest(FORMAT, uri, lasting) for uri in map(absolute, uris)}
        self.folder = f"sources/{next(iter(self._keys.values()))}"
        self._latest = {uri: self._read_latest(key) for uri, key in self._keys.items()}

    def unchanged_archives(self) -> str | None:
        """As `unchanged`, of sources that are all web archives, which their checksums tell without fetching them."""
        archives = all(uri.sha256 for uri in self._uris)
        return self._version_of(digest(list(self._keys), self._parameters)) if archives else None

    def unchanged(self, sources: list[Source]) -> str | None:
        """Digest of the version that just these sources, just as they are now, were made into; None without one."""
        known = all(item.tag for source in sources for item in source.items)
        return self._version_of(self._state(sources)) if known else None

    def _version_of(self, state: str) -> str | None:
        told = next(iter(self._latest.values()))
        return (
            told["version"] if told and told["state"] == state and read_commit(self._store, told["version"]) else None
        )

    def _state(self, sources: list[Source]) -> str:
        """Everything that decides what comes of the sources, as far as it can be told without reading their files."""
        if all(uri.sha256 for uri in self._uris):
            return digest(list(self._keys), self._parameters)
        items = [
            [(i.path, i.label, i.surface, i.group, i.mask, i.source, i.tag) for i in source.items] for source in sources
        ]
        return digest(list(self._keys), self._parameters, items)

    def previous(self) -> Previous:
        """The version that the first of the sources with a past was part of, if the store holds it; else nothing."""
        for told in filter(None, self._latest.values()):
            committed = read_commit(self._store, told["version"])
            if committed is not None:
                return self._read_version(told["version"], committed["shards"])
        return Previous(None, Past(), {}, {})

    def known(self, sources: list[Source]) -> dict[Item, Picture | Refusal]:
        """Of every file that an earlier ingestion examined and that did not change since: what it found."""
        found: dict[Item, Picture | Refusal] = {}
        for source in sources:
            by_path = {item.path: item for item in source.items if item.tag}
            try:
                for path, tag, result in self._read_index(self._keys[source.uri]):
                    item = by_path.get(path)
                    if item is not None and item.tag == tag:
                        found[item] = Refusal(item, result) if isinstance(result, str) else Picture(item, **result)
            except (pa.ArrowException, OSError) as error:
                log.warning(
                    "the index of the source %s cannot be read, so files are looked at again: %s", source.name, error
                )
        return found

    def remember(
        self, version: str, sources: list[Source], found: list[Picture | Refusal], reports: list[Path]
    ) -> None:
        """Keep what was found in the sources' files, which version they became, and these files that say so."""
        for report in reports:
            self._store.put_file(f"{self.folder}/{report.name}", report)
        state = self._state(sources)
        for source in sources:
            mine = [one for one in found if one.item.source == source.name and one.item.tag]
            key = self._keys[source.uri]
            with tempfile.NamedTemporaryFile() as file:
                _write_index(mine, file.name)
                self._store.put_file(f"sources/{key}/index.parquet", file.name)
            latest = {"source": source.name, "state": state, "version": version}
            self._store.put_bytes(f"sources/{key}/latest.json", json.dumps(latest).encode())

    def _read_latest(self, key: str) -> dict[str, str] | None:
        try:
            return json.loads(self._store.get_bytes(f"sources/{key}/latest.json"))
        except MissingObjectError:
            return None

    def _read_index(self, key: str) -> Iterator[tuple[str, str, str | dict[str, Any]]]:
        with tempfile.NamedTemporaryFile() as file:
            try:
                self._store.get_file(f"sources/{key}/index.parquet", file.name)
            except MissingObjectError:
                return
            for batch in pq.ParquetFile(file.name).iter_batches(batch_size=ROWS):
                yield from _rows(batch.to_pydict())

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


def _write_index(found: list[Picture | Refusal], path: str) -> None:
    """Write in pieces: the thumbnails of all files would need much memory at once."""
    with pq.ParquetWriter(path, INDEX, compression="none", use_dictionary=False) as writer:  # noise, and hashes
        for start in range(0, len(found), ROWS):
            writer.write_table(_table(found[start : start + ROWS]))


def _table(found: list[Picture | Refusal]) -> pa.Table:
    columns = {
        "path": [one.item.path for one in found],
        "tag": [one.item.tag for one in found],
        "reason": [one.reason if isinstance(one, Refusal) else None for one in found],
        "thumbnail": [one.thumbnail.tobytes() if isinstance(one, Picture) else None for one in found],
        **{name: [getattr(one, name, None) for one in found] for name in PLAIN},
    }
    return pa.table(columns, schema=INDEX)


def _rows(columns: dict[str, list]) -> Iterator[tuple[str, str, str | dict[str, Any]]]:
    """Path, tag, and the reason of a refusal or a picture's other attributes, of each file."""
    plain = (dict(zip(PLAIN, row, strict=True)) for row in zip(*(columns[name] for name in PLAIN), strict=True))
    for path, tag, reason, data, row in zip(
        columns["path"], columns["tag"], columns["reason"], columns["thumbnail"], plain, strict=True
    ):
        if reason is None:
            row["thumbnail"] = np.frombuffer(data, np.uint8).reshape(THUMBNAIL, THUMBNAIL)
        yield path, tag, row if reason is None else reason
