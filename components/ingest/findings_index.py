"""Store the results of examining the files of a source, so that no file is examined twice.

We call these results the index of the source. The index consists of parts, which are stored under `sources/KEY/index/`.
Each ingestion adds one part for the files that it examined. A part consists of two objects with rows in the same order:
a table of the findings, and the thumbnails with the landmarks. The names of the two objects differ only in the suffix,
and contain a digest of both contents. The table is written last and makes the part visible.
"""

import tempfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from components.ingest.examination import FOUND_TYPES
from components.ingest.text_lookup import look_up
from components.ingest.thumbnails import Thumbnails, open_thumbnails
from components.shared.events import log
from components.shared.hashing import bytes_digest, digest, file_digest
from components.shared.services.s3_client import ATTEMPTS
from components.shared.services.store import DamagedObjectError, MissingObjectError, Store

MAX_PARTS = 16  # an ingestion that finds this many parts merges them into one
TABLE, THUMBNAILS = ".parquet", ".thumbnails"


class FindingsIndex:
    """The index of one source: what earlier ingestions found in its files. The index is stored in parts."""

    def __init__(self, store: Store, folder: str, scratch: Path):
        """List the stored parts of the index.

        Args:
            store: Storage root.
            folder: The source's folder in the store, `sources/KEY`.
            scratch: Local folder for temporary files.
        """
        self._store = store
        self._folder = f"{folder}/index"
        self._scratch = scratch
        self._keys = [key for key, _ in store.list(f"{self._folder}/")]

    def read(self, files: pd.DataFrame, thumbnails: Thumbnails) -> pd.DataFrame:
        """Return what earlier ingestions found in the files that have not changed since.

        Args:
            files: Files of the source; the index is their row number in `thumbnails`.
            thumbnails: The thumbnails of all files in the returned table are added to this object.

        Returns:
            Table with the columns of `FOUND_TYPES`, with the index of `files`. It has one row for each file that
            was examined before and has not changed.
        """
        known = [pd.DataFrame(columns=list(FOUND_TYPES)).astype(FOUND_TYPES)]
        unknown = files[files["tag"] != ""]
        for key in self._keys:
            if not key.endswith(TABLE):
                continue
            # A part is missing if another ingestion has merged the parts in the meantime.
            with suppress(MissingObjectError):
                found = self._read_part(key.removesuffix(TABLE), unknown, thumbnails)
                unknown = unknown.drop(found.index)
                known.append(found)
        return pd.concat(known)

    def _read_part(self, part: str, files: pd.DataFrame, thumbnails: Thumbnails) -> pd.DataFrame:
        """Read a part. Return its findings about the files that still have the same path and tag (see `Source.files`).

        If the part is damaged, it is deleted, and the result has no rows.
        """
        with tempfile.NamedTemporaryFile(dir=self._scratch) as local:
            try:
                table = self._fetch(part, Path(local.name))
            except DamagedObjectError as error:
                log.warning("%s cannot be read, so we examine again the images that it describes: %s", part, error)
                self._store.delete([part + TABLE, part + THUMBNAILS])
                return pd.DataFrame(columns=list(FOUND_TYPES)).astype(FOUND_TYPES)

            findings = pd.read_parquet(BytesIO(table))
            array = open_thumbnails(local.name, len(findings))
            rows = look_up(files["path"], findings.assign(position=range(len(findings))), "path")
            known = rows[rows["tag"] == files["tag"]]
            found = known[list(FOUND_TYPES)].astype(FOUND_TYPES)
            thumbnails.add(known.index.to_numpy(), array, known["position"].to_numpy(np.int64))
            return found

    def _fetch(self, part: str, thumbnails: Path) -> bytes:
        """Return a part's table, and download its thumbnails.

        Raises:
            DamagedObjectError: Several reads did not return what was written, so the objects are damaged.
        """
        for _ in range(ATTEMPTS):
            table = self._store.get_bytes(part + TABLE)
            self._store.get_file(part + THUMBNAILS, thumbnails)
            if digest(bytes_digest(table), file_digest(thumbnails)) == part.rpartition("/")[2]:
                return table
        raise DamagedObjectError(f"the content of {self._store.uri}/{part} does not match the digest in its name")

    def add(self, files: pd.DataFrame, thumbnails: Thumbnails) -> None:
        """Store a new part with the findings of this ingestion. If there are many parts, merge all of them.

        Args:
            files: All files of the source with what was found in them. `new` is true for the files that this ingestion
                examined.
            thumbnails: The index of `files` gives the row number of each file's thumbnail in `thumbnails`.
        """
        parts = sum(key.endswith(TABLE) for key in self._keys)
        merge = parts >= MAX_PARTS

        kept = files[files["tag"] != ""]
        if not merge:
            kept = kept[kept["new"]]
        obsolete = set(self._keys) if merge else set()
        if len(kept):
            obsolete -= self._write_part(kept, thumbnails)
        self._store.delete(sorted(obsolete))

    def _write_part(self, files: pd.DataFrame, thumbnails: Thumbnails) -> set[str]:
        """Write a part and return the keys of its objects."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            table = Path(folder, "table")
            # No compression: most of the table is hashes, which do not compress.
            files[["path", "tag", *FOUND_TYPES]].to_parquet(
                table, compression="none", use_dictionary=False, index=False
            )

            array = Path(folder, "thumbnails")
            thumbnails.write(files.index.to_numpy(), array)

            part = f"{self._folder}/{digest(file_digest(table), file_digest(array))}"
            self._store.put_file(part + THUMBNAILS, array)
            self._store.put_file(part + TABLE, table)
        return {part + TABLE, part + THUMBNAILS}
