"""What earlier ingestions of the same sources found out, so that no file is looked at twice and no group changes.

In the store, `sources/KEY/` belongs to one source under one configuration: the parts under `index/` hold what was found
in each file and its thumbnail, each what one ingestion looked at, and `latest.json` names the version that the source
last became part of and the state of all sources that made it. With the first of several sources lie the reports of that
ingestion, in a folder named by their content, for its files may be others than those that first made the version.
`latest.json` is written last of all, after the version's commit. Whoever deletes them ingests anew, and groups anew.
"""

import datetime
import json
import tempfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from components.ingest.config import IngestConfig
from components.ingest.earlier_versions import Previous, read_previous
from components.ingest.examination import FOUND
from components.ingest.sources.open_sources import Source, archive_tag
from components.ingest.sources.uri import SourceUri, absolute
from components.ingest.text_lookup import look_up
from components.ingest.thumbnails import Thumbnails, open_thumbnails
from components.shared.data.manifest import table_digest
from components.shared.data.versions import Version, whole_version
from components.shared.events import log
from components.shared.hashing import digest, file_digest
from components.shared.services.store import MissingObjectError, Store

FORMAT = 4  # raise it when what is kept changes its form or its meaning
PARTS = 16  # of the index, before they are made one
PASSING = ("layout", "max_unpacked", "max_refused", "min_images")  # parameters that change no finding and no group
TABLE, PICTURES = ".parquet", ".thumbnails"  # a part's two objects, with rows in the same order, named by the table


class History:
    """What the store knows of the given sources."""

    def __init__(self, store: Store, uris: list[SourceUri], config: IngestConfig, scratch: Path):
        self._store, self._parameters, self._scratch = store, config.identity(), scratch
        lasting = {name: value for name, value in self._parameters.items() if name not in PASSING}
        self._keys = {uri: digest(FORMAT, uri, lasting) for uri in map(absolute, uris)}
        self._archives = [archive_tag(uri) for uri in uris]
        self._folder = f"sources/{next(iter(self._keys.values()))}"
        kept = {uri: [key for key, _ in store.list(f"sources/{key}/")] for uri, key in self._keys.items()}
        self._index = {uri: [key for key in keys if "/index/" in key] for uri, keys in kept.items()}
        self._parts = {
            uri: [key.removesuffix(TABLE) for key in keys if key.endswith(TABLE)] for uri, keys in self._index.items()
        }
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
            tables = [pa.Table.from_pandas(source.files, preserve_index=False) for source in sources]
            files = [[source.name, table_digest(table)] for source, table in zip(sources, tables, strict=True)]
            content = self._archives if all(self._archives) else files
            self._state_of_sources = digest(list(self._keys), self._parameters, content)
        return self._state_of_sources

    def previous(self) -> Previous:
        """The versions that the sources were part of, as far as the store holds them, in the order of the sources."""
        names = dict.fromkeys(told["version"] for told in self._latest.values() if told)
        versions = [whole_version(self._store, name) for name in names]
        return read_previous(self._store, [version for version in versions if version])

    def known(self, source: Source, files: pd.DataFrame, thumbnails: Thumbnails) -> pd.DataFrame:
        """What earlier ingestions found in files of a source that did not change since.

        Args:
            source: The source.
            files: Its files; the index is their row number among `thumbnails`.
            thumbnails: Those of known pictures are added.

        Returns:
            Table of the columns `FOUND`, of that index, without the files that nothing is known of.
        """
        found = [pd.DataFrame(columns=list(FOUND)).astype(FOUND)]
        files = files[files["tag"] != ""]
        for part in self._parts[source.uri]:
            # another ingestion may have made one of the parts meanwhile
            with suppress(MissingObjectError), tempfile.NamedTemporaryFile(dir=self._scratch) as pictures:
                table = self._store.get_bytes(part + TABLE)
                self._store.get_file(part + PICTURES, pictures.name)
                try:
                    found.append(_read_part(table, pictures.name, files, thumbnails))
                except (pa.ArrowException, OSError, ValueError) as error:
                    log.warning("%s cannot be read, so files of %s are looked at again: %s", part, source.name, error)
                    self._store.delete([part + TABLE, part + PICTURES])
            files = files.drop(found[-1].index, errors="ignore")
        return pd.concat(found)

    def get_reports(self, folder: Path) -> None:
        """Fetch the reports of the last ingestion; that there was one, `unchanged` or `unchanged_archives` tells."""
        told = next(iter(self._latest.values()))
        assert told
        self._store.get_folder(told["reports"], folder)

    def keep_findings(self, sources: list[Source], files: pd.DataFrame, thumbnails: Thumbnails) -> None:
        """Keep what was found in the sources' files.

        Args:
            sources: The sources.
            files: All their files, with what was found, and whether that is `new`.
            thumbnails: Theirs, by the index of the files.
        """
        tables, pictures, obsolete = dict[str, Path](), dict[str, Path](), list[str]()
        for number, source in enumerate(sources):
            whole = len(self._parts[source.uri]) >= PARTS
            mine = files[(files["source"] == source.name) & (files["tag"] != "") & (files["new"] | whole)]
            if len(mine):
                table, small = (self._scratch / f"findings-{number}{suffix}" for suffix in (TABLE, PICTURES))
                kept = mine[["path", "tag", *FOUND]]
                kept.to_parquet(table, compression="none", use_dictionary=False, index=False)  # hashes are noise
                thumbnails.write(mine.index.to_numpy(), small)
                part = f"sources/{self._keys[source.uri]}/index/{file_digest(table)}"
                tables[part + TABLE], pictures[part + PICTURES] = table, small
            obsolete += self._index[source.uri] if whole else []
        self._store.put_files(pictures)
        self._store.put_files(tables)  # these make the parts visible
        self._store.delete(key for key in obsolete if key not in tables | pictures)

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


def _read_part(table: bytes, pictures: str, files: pd.DataFrame, thumbnails: Thumbnails) -> pd.DataFrame:
    """What a part of the index says of files, known by path and tag."""
    told = pd.read_parquet(BytesIO(table))
    small = open_thumbnails(pictures, len(told))
    found = look_up(files["path"], told.assign(at=range(len(told))), "path")
    known = found[found["tag"] == files["tag"]]
    thumbnails.add(known.index.to_numpy(), small, known["at"].to_numpy(np.int64))
    return known[list(FOUND)].astype(FOUND)
