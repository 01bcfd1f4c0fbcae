"""What earlier ingestions of the same sources found out, so that no file is looked at twice and no group changes.

In the store, `sources/KEY/` belongs to one source under one configuration: the parts under `index/` hold what was found
in each file, each what one ingestion looked at, and `latest.json` names the version that the source last became part of
and the state of all sources that made it.
With the first of several sources lie the reports of that ingestion: its files may be others than those that first made
the version. All are written after the version's commit, `latest.json` last. Whoever deletes them ingests anew, and
groups anew.
"""

import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.ingest.config import IngestConfig
from components.ingest.examination import FOUND, THUMBNAIL
from components.ingest.selection import Past
from components.ingest.sources import Source, archive_tag
from components.ingest.uri import SourceUri, absolute
from components.shared.manifest import plain
from components.shared.runtime import digest, log
from components.shared.storage import MissingObjectError, Store
from components.shared.versions import read_commit

FORMAT = 1  # raise it when what is found in a file changes its meaning
ROWS = 4096  # of the index, in memory at once
PARTS = 16  # of the index, before they are made one
PASSING = ("layout", "max_unpacked", "max_refused", "min_images")  # parameters that change no finding and no group
INDEX = pa.schema(
    [(name, pa.string()) for name in ("path", "tag", "reason", "sample_id", "suffix", "mask_id", "mask_suffix")]
    + [(name, pa.int64()) for name in ("width", "height", "file_size")]
    + [(name, pa.float64()) for name in ("brightness", "contrast", "darkest")]
    + [("thumbnail", pa.binary())]
)
PLACES = dict.fromkeys(["sample_id", "mask_id", "shard"], "str") | dict.fromkeys(
    ["offset", "size", "mask_offset", "mask_size"], "Int64"
)
PAIRS = "near_duplicates.parquet"  # in a version: sample_ids of pictures that look the same
PHOTOS = "photos.parquet"  # in a version: sample_ids and photos of the pictures whose photo is known


@dataclass(frozen=True)
class Previous:
    """The version that the sources last were part of.

    Attributes:
        digest: Its name; None where there is none.
        past: Its groups and near duplicates.
        places: Table of the columns `PLACES`: where its images lie.
        shards: Size by name of its shards.
    """

    digest: str | None
    past: Past
    places: pd.DataFrame
    shards: dict[str, int]


class History:
    """What the store knows of the given sources; under the key `folder` are the reports of their last ingestion."""

    def __init__(self, store: Store, uris: list[SourceUri], config: IngestConfig):
        self._store, self._parameters = store, config.identity()
        lasting = {name: value for name, value in self._parameters.items() if name not in PASSING}
        self._keys = {uri: digest(FORMAT, uri, lasting) for uri in map(absolute, uris)}
        self._archives = [archive_tag(uri) for uri in uris]
        self.folder = f"sources/{next(iter(self._keys.values()))}"
        self._latest = {uri: self._read_latest(key) for uri, key in self._keys.items()}

    def unchanged_archives(self) -> str | None:
        """As `unchanged`, of sources that are all archives, which need be neither fetched nor unpacked to be told."""
        return self._version_of(self._state([])) if all(self._archives) else None

    def unchanged(self, sources: list[Source]) -> str | None:
        """Digest of the version that just these sources, just as they are now, were made into; None without one."""
        known = all((source.files["tag"] != "").all() for source in sources)
        return self._version_of(self._state(sources)) if known else None

    def _version_of(self, state: str) -> str | None:
        told = next(iter(self._latest.values()))
        return (
            told["version"] if told and told["state"] == state and read_commit(self._store, told["version"]) else None
        )

    def _state(self, sources: list[Source]) -> str:
        """Everything that decides what comes of the sources, as far as it can be told without reading their files."""
        if all(self._archives):
            return digest(list(self._keys), self._parameters, self._archives)
        files = [[source.name, *(plain(column) for _, column in source.files.items())] for source in sources]
        return digest(list(self._keys), self._parameters, files)

    def previous(self) -> Previous:
        """The version that the first of the sources with a past was part of, if the store holds it; else nothing."""
        for told in filter(None, self._latest.values()):
            committed = read_commit(self._store, told["version"])
            if committed is not None:
                return self._read_version(told["version"], committed["shards"])
        return Previous(None, Past(), pd.DataFrame(columns=list(PLACES)).astype(PLACES), {})

    def known(self, source: Source, files: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> pd.DataFrame:
        """What earlier ingestions found in files of a source that did not change since.

        Args:
            source: The source.
            files: Its files; the index says which thumbnail is whose.
            thumbnails: uint8 (N, 32, 32); those of known pictures are filled in.

        Returns:
            Table of the columns `FOUND`, of that index, without the files that nothing is known of.
        """
        found = [pd.DataFrame(columns=list(FOUND)).astype(FOUND)]
        files = files[files["tag"] != ""]
        for key, _ in self._store.list(f"sources/{self._keys[source.uri]}/index/"):
            # another ingestion may have made one of the parts meanwhile
            with suppress(MissingObjectError), tempfile.NamedTemporaryFile() as file:
                self._store.get_file(key, file.name)
                try:
                    found.append(_read_index(pq.ParquetFile(file.name), files, thumbnails))
                except (pa.ArrowException, OSError) as error:
                    log.warning("%s cannot be read, so files of %s are looked at again: %s", key, source.name, error)
                    self._store.delete([key])
            files = files.drop(found[-1].index, errors="ignore")
        return pd.concat(found)

    def remember(
        self,
        version: str,
        sources: list[Source],
        files: pd.DataFrame,
        thumbnails: NDArray[np.uint8],
        reports: list[Path],
    ) -> None:
        """Keep what was found in the sources' files, which version they became, and these reports that say so.

        Args:
            version: Digest of the version.
            sources: The sources.
            files: All their files, with what was found, and whether that is `new`; the index says which thumbnail is
                whose.
            thumbnails: uint8 (N, 32, 32).
            reports: Files.
        """
        for report in reports:
            self._store.put_file(f"{self.folder}/{report.name}", report)
        state = self._state(sources)
        for source in sources:
            key = self._keys[source.uri]
            part = f"sources/{key}/index/{state}.parquet"
            others = [name for name, _ in self._store.list(f"sources/{key}/index/") if name != part]
            whole = len(others) >= PARTS
            mine = files[(files["source"] == source.name) & (files["tag"] != "") & (files["new"] | whole)]
            if len(mine):
                with tempfile.NamedTemporaryFile() as file:
                    _write_index(mine, thumbnails, file.name)
                    self._store.put_file(part, file.name)
            if whole:
                self._store.delete(others)
            latest = {"source": source.name, "state": state, "version": version}
            self._store.put_bytes(f"sources/{key}/latest.json", json.dumps(latest).encode())

    def _read_latest(self, key: str) -> dict[str, str] | None:
        try:
            return json.loads(self._store.get_bytes(f"sources/{key}/latest.json"))
        except MissingObjectError:
            return None

    def _read_version(self, version: str, shards: dict[str, int]) -> Previous:
        rows = self._read_table(f"datasets/{version}/manifest.parquet", [*PLACES, "group_id"])
        pairs = self._read_table(f"datasets/{version}/{PAIRS}", ["first", "second"])
        return Previous(version, Past(rows[["sample_id", "group_id"]], pairs), rows[list(PLACES)], shards)

    def _read_table(self, key: str, columns: list[str]) -> pd.DataFrame:
        table = pq.read_table(BytesIO(self._store.get_bytes(key)), columns=columns)
        return table.to_pandas(ignore_metadata=True, types_mapper={pa.int64(): pd.Int64Dtype()}.get)


def _read_index(index: pq.ParquetFile, files: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> pd.DataFrame:
    """What a part of the index says of files, known by path and tag; in pieces, for it is large."""
    names = index.read(["path", "tag"]).to_pandas().reset_index(names="at")
    here = files[["path", "tag"]].reset_index(names="row").merge(names, on=["path", "tag"])
    row_of = np.full(len(names), -1)
    row_of[here["at"]] = here["row"]
    found = []
    for group in range(index.num_row_groups):  # iter_batches would keep them all in memory
        told = index.read_row_group(group)
        rows, row_of = row_of[: len(told)], row_of[len(told) :]
        told, rows = told.filter(rows >= 0), rows[rows >= 0]
        small = told["thumbnail"]
        data = b"".join(small.drop_null().to_pylist())
        thumbnails[rows[small.is_valid()]] = np.frombuffer(data, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
        found.append(told.select(list(FOUND)).to_pandas().set_index(rows).astype(FOUND))
    return pd.concat(found)


def _write_index(files: pd.DataFrame, thumbnails: NDArray[np.uint8], path: str) -> None:
    with pq.ParquetWriter(path, INDEX, compression="none", use_dictionary=False) as writer:  # noise, and hashes
        for start in range(0, len(files), ROWS):
            rows = files.iloc[start : start + ROWS]
            small = [thumbnails[row].tobytes() if good else None for row, good in rows["reason"].isna().items()]
            columns = {name: pa.array(rows[name], from_pandas=True) for name in INDEX.names if name != "thumbnail"}
            writer.write_table(pa.table(columns | {"thumbnail": pa.array(small, pa.binary())}).cast(INDEX))
