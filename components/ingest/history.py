"""What earlier ingestions of the same sources found out, so that no file is looked at twice and no group changes.

In the store, `sources/KEY/` belongs to one source under one configuration: the parts under `index/` hold what was found
in each file, each what one ingestion looked at, and `latest.json` names the version that the source last became part of
and the state of all sources that made it. With the first of several sources lie the reports of that ingestion, in a
folder named by their content, for its files may be others than those that first made the version. `latest.json` is
written last of all, after the version's commit. Whoever deletes them ingests anew, and groups anew.
"""

import datetime
import json
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.ingest.config import IngestConfig
from components.ingest.examination import FOUND, THUMBNAIL
from components.ingest.past import Previous, read_previous
from components.ingest.sources import Source, archive_tag
from components.ingest.uri import SourceUri, absolute
from components.shared.manifest import plain
from components.shared.runtime import digest, log
from components.shared.storage import MissingObjectError, Store, file_digest
from components.shared.versions import Version, whole_version

FORMAT = 3  # raise it when what is kept changes its form or its meaning
ROWS = 4096  # of the index, in memory at once
PARTS = 16  # of the index, before they are made one
PASSING = ("layout", "max_unpacked", "max_refused", "min_images")  # parameters that change no finding and no group
INDEX = pa.schema(
    [(name, pa.string()) for name in ("path", "tag", "reason", "sample_id", "suffix", "mask_id", "mask_suffix")]
    + [(name, pa.int64()) for name in ("width", "height", "file_size")]
    + [(name, pa.float64()) for name in ("brightness", "contrast", "darkest")]
    + [("thumbnail", pa.binary(THUMBNAIL**2))]
)


class History:
    """What the store knows of the given sources."""

    def __init__(self, store: Store, uris: list[SourceUri], config: IngestConfig, scratch: Path):
        self._store, self._parameters, self._scratch = store, config.identity(), scratch
        lasting = {name: value for name, value in self._parameters.items() if name not in PASSING}
        self._keys = {uri: digest(FORMAT, uri, lasting) for uri in map(absolute, uris)}
        self._archives = [archive_tag(uri) for uri in uris]
        self._folder = f"sources/{next(iter(self._keys.values()))}"
        kept = {uri: [key for key, _ in store.list(f"sources/{key}/")] for uri, key in self._keys.items()}
        self._parts = {uri: [key for key in keys if "/index/" in key] for uri, keys in kept.items()}
        self._latest = {uri: self._read_latest(keys) for uri, keys in kept.items()}
        self._state_of_sources = ""

    def unchanged_archives(self) -> Version | None:
        """As `unchanged`, of sources that are all archives, which need be neither fetched nor unpacked to be told."""
        return self._version_of(self._state([])) if all(self._archives) else None

    def unchanged(self, sources: list[Source]) -> Version | None:
        """The version that just these sources, just as they are now, were made into; None without one."""
        known = all((source.files["tag"] != "").all() for source in sources)
        return self._version_of(self._state(sources)) if known else None

    def _version_of(self, state: str) -> Version | None:
        told = next(iter(self._latest.values()))
        return whole_version(self._store, told["version"]) if told and told["state"] == state else None

    def _state(self, sources: list[Source]) -> str:
        """Everything that decides what comes of the sources, as far as it can be told without reading their files."""
        if not self._state_of_sources:  # the same for as long as this lives
            files = [[source.name, *(plain(column) for _, column in source.files.items())] for source in sources]
            content = self._archives if all(self._archives) else files
            self._state_of_sources = digest(list(self._keys), self._parameters, content)
        return self._state_of_sources

    def previous(self) -> Previous:
        """The versions that the sources were part of, as far as the store holds them, in the order of the sources."""
        names = dict.fromkeys(told["version"] for told in self._latest.values() if told)
        versions = [whole_version(self._store, name) for name in names]
        return read_previous(self._store, [version for version in versions if version])

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
        for key in self._parts[source.uri]:
            # another ingestion may have made one of the parts meanwhile
            with suppress(MissingObjectError), tempfile.NamedTemporaryFile(dir=self._scratch) as file:
                self._store.get_file(key, file.name)
                try:
                    found.append(_read_index(pq.ParquetFile(file.name, memory_map=True), files, thumbnails))
                except (pa.ArrowException, OSError) as error:
                    log.warning("%s cannot be read, so files of %s are looked at again: %s", key, source.name, error)
                    self._store.delete([key])
            files = files.drop(found[-1].index, errors="ignore")
        return pd.concat(found)

    def get_reports(self, folder: Path) -> None:
        """Fetch the reports of the last ingestion; that there was one, `unchanged` or `unchanged_archives` tells."""
        told = next(iter(self._latest.values()))
        assert told
        self._store.get_folder(told["reports"], folder)

    def keep_findings(self, sources: list[Source], files: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> None:
        """Keep what was found in the sources' files.

        Args:
            sources: The sources.
            files: All their files, with what was found, and whether that is `new`; the index says which thumbnail is
                whose.
            thumbnails: uint8 (N, 32, 32).
        """
        state, obsolete = self._state(sources), list[str]()
        uploads: dict[str, Path] = {}
        for source in sources:
            part = f"sources/{self._keys[source.uri]}/index/{state}.parquet"
            others = [key for key in self._parts[source.uri] if key != part]
            whole = len(others) >= PARTS
            mine = files[(files["source"] == source.name) & (files["tag"] != "") & (files["new"] | whole)]
            if len(mine):
                uploads[part] = self._scratch / f"index-{len(uploads)}"
                _write_index(mine, thumbnails, uploads[part])
            obsolete += others if whole else []
        self._store.put_files(uploads)
        self._store.delete(obsolete)

    def remember(self, version: str, sources: list[Source], reports: Path) -> None:
        """Keep which version the sources became, by its digest, and the reports in this folder, which say so."""
        folder = f"{self._folder}/reports/{digest({path.name: file_digest(path) for path in reports.iterdir()})}"
        obsolete = self._old_reports(folder)
        self._store.put_folder(folder, reports)
        state = self._state(sources)
        for source in sources:
            latest = {"source": source.name, "state": state, "version": version, "reports": folder}
            self._store.put_bytes(f"sources/{self._keys[source.uri]}/latest.json", json.dumps(latest).encode())
        self._store.delete(obsolete)

    def _old_reports(self, current: str) -> list[str]:
        """Reports that nobody reads any more: another ingestion may still do so with those of this day."""
        if not any(self._latest.values()):
            return []
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        stored = self._store.objects(f"{self._folder}/reports/")
        return [one.key for one in stored if one.changed < yesterday and not one.key.startswith(f"{current}/")]

    def _read_latest(self, keys: list[str]) -> dict[str, str] | None:
        latest = [key for key in keys if key.endswith("/latest.json")]
        return json.loads(self._store.get_bytes(latest[0])) if latest else None


def _read_index(index: pq.ParquetFile, files: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> pd.DataFrame:
    """What a part of the index says of files, known by path and tag; in pieces, for it is large."""
    names = index.read(["path", "tag"]).to_pandas().reset_index(names="at")
    here = files[["path", "tag"]].reset_index(names="row").merge(names, on="path", suffixes=("", "_then"))
    here = here[here["tag"] == here["tag_then"]]
    row_of = np.full(len(names), -1)
    row_of[here["at"]] = here["row"]
    found = []
    for group in range(index.num_row_groups):  # iter_batches would keep them all in memory
        told = index.read_row_group(group)
        rows, row_of = row_of[: len(told)], row_of[len(told) :]
        (small,) = told["thumbnail"].chunks
        data = np.frombuffer(small.buffers()[1], np.uint8, THUMBNAIL**2 * len(small), THUMBNAIL**2 * small.offset)
        good = small.is_valid().to_numpy(zero_copy_only=False) & (rows >= 0)
        pictures = data.reshape(-1, THUMBNAIL, THUMBNAIL)
        thumbnails[rows[good]] = pictures if good.all() else pictures[good]
        known = told.select(list(FOUND)).filter(rows >= 0)
        found.append(known.to_pandas().set_index(rows[rows >= 0]).astype(FOUND))
    return pd.concat(found)


def _write_index(files: pd.DataFrame, thumbnails: NDArray[np.uint8], path: Path) -> None:
    with pq.ParquetWriter(path, INDEX, compression="none", use_dictionary=False) as writer:  # noise, and hashes
        for start in range(0, len(files), ROWS):
            rows = files.iloc[start : start + ROWS]
            small = [thumbnails[row].tobytes() if good else None for row, good in rows["reason"].isna().items()]
            columns = {name: pa.array(rows[name], from_pandas=True) for name in INDEX.names if name != "thumbnail"}
            columns["thumbnail"] = pa.array(small, INDEX.field("thumbnail").type)
            writer.write_table(pa.table(columns).cast(INDEX))
