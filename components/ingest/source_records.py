"""Record the last ingestion of a source in the store, and find out if the source has changed since.

In the store, the folder `sources/KEY/` belongs to one source under one configuration. It holds

- `latest.json`: the record of the source's last ingestion. It names the data set version, the state of all sources
  of that ingestion, and the folder of the reports. An ingestion writes it last, after it committed the version.
- `reports/NAME/`: the reports of that ingestion. NAME is a digest of their content. If there are several sources, only
  the first one has this folder. The reports are not stored with the data set version, because different files can
  give the same version.
- `index/`: what was found in each file (`findings_index.py`).
- `last-use.txt`: an ingestion writes it when it starts. See `pipelines/store_cleanup.py`.

If somebody deletes these objects, the next ingestion of the source has no record, so it may form other groups.
"""

import datetime
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from components.ingest.config import IngestConfig
from components.ingest.sources.open_sources import Source, archive_tag
from components.ingest.sources.uri import SourceUri, absolute
from components.shared.data.manifest import table_digest
from components.shared.data.versions import Version, whole_version
from components.shared.events import log
from components.shared.hashing import digest, file_digest
from components.shared.services.records import read_record, write_record
from components.shared.services.store import DamagedObjectError, MissingObjectError, Store

FORMAT = 9  # increase this number when the fields or the meaning of the records change
PARAMETERS_WITHOUT_EFFECT_ON_FINDINGS_AND_GROUPS = ("layout", "max_unpacked", "max_refused", "min_images")
HOW_TO_REPAIR = (
    "restore it from a backup of the store. Without a backup, set store to a new place, because an ingestion "
    "without these records may put images into other groups"
)
LAST_USE = "last-use.txt"
TEXT_OF_LAST_USE = b"The last change of this object is the start of the last ingestion of this source.\n"
REPORTS_STAY_READABLE = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Record:
    """The content of latest.json.

    Attributes:
        source: Name of the source.
        state: State of all sources and of people's corrections, from `archives_state` or `files_state`.
        version: Digest of the data set version.
        reports: Folder of the reports, a key in the store.
        files: Name of each report -> its sha256.
    """

    source: str
    state: str
    version: str
    reports: str
    files: dict[str, str]


def source_folders(uris: list[SourceUri], config: IngestConfig) -> list[str]:
    """Return the folder of each source in the store, `sources/KEY`. Raise `InputError` if a path does not exist."""
    parameters = config.identity()
    for name in PARAMETERS_WITHOUT_EFFECT_ON_FINDINGS_AND_GROUPS:
        del parameters[name]
    return [f"sources/{digest(FORMAT, absolute(uri), parameters)}" for uri in uris]


def archives_state(uris: list[SourceUri], folders: list[str], config: IngestConfig, corrections: str) -> str:
    """Return the state of sources without downloading or unpacking them. Return "" if a source is not an archive.

    Args:
        uris: The sources.
        folders: The folder of each source in the store, from `source_folders`.
        config: The parameters of ingestion.
        corrections: Digest of people's corrections.
    """
    tags = [archive_tag(uri) for uri in uris]
    return digest(folders, config.identity(), tags, corrections) if all(tags) else ""


def files_state(sources: list[Source], folders: list[str], config: IngestConfig, corrections: str) -> str:
    """Return the state of sources: a digest of everything that the reports say about them.

    Return "" if a file has no tag.

    The digest covers the names and tags of the files that are used. It also covers our sentences about the other files,
    because the reports contain these sentences. `archives_state` describes the arguments other than `sources`.
    """
    contents = []
    for source in sources:
        if (source.files["tag"] == "").any():
            return ""
        table = pa.Table.from_pandas(source.files, preserve_index=False)
        said = [source.refused, source.understood, source.warnings, source.masks_without_image]
        contents.append([source.name, table_digest(table), *said])
    return digest(folders, config.identity(), contents, corrections)


def mark_use(store: Store, folders: list[str]) -> None:
    """Note in the store that an ingestion starts. So gc keeps the earlier versions that the ingestion may reuse."""
    for folder in folders:
        store.put_bytes(f"{folder}/{LAST_USE}", TEXT_OF_LAST_USE)


def read_records(store: Store, folders: list[str]) -> list[Record | None]:
    """Return the record of each source, or None for a source that was never ingested."""
    return [_read_record(store, folder) for folder in folders]


def _read_record(store: Store, folder: str) -> Record | None:
    try:
        return read_record(store, f"{folder}/latest.json", Record, HOW_TO_REPAIR)
    except MissingObjectError:
        return None


def unchanged_version(store: Store, records: list[Record | None], state: str) -> Version | None:
    """Return the data set version that was made from exactly these sources in exactly this state.

    Return None if there is no such version, if the state is "", or if a shard of the version is missing.
    """
    first = records[0]
    if first is None or not state or first.state != state:
        return None
    return whole_version(store, first.version)


def recorded_versions(store: Store, records: list[Record | None]) -> list[Version]:
    """Return the latest data set version of each source, in the order of the sources, without repetition.

    Versions with a missing shard are omitted.
    """
    versions: dict[str, Version] = {}
    for record in records:
        if record is not None and record.version not in versions:
            version = whole_version(store, record.version)
            if version is not None:
                versions[record.version] = version
    return list(versions.values())


def fetch_reports(store: Store, records: list[Record | None], folder: Path) -> bool:
    """Download the reports that the last ingestion wrote. The sources must not have changed since then.

    Returns:
        True if the reports are in the folder. False if the stored reports are damaged or incomplete; then the folder
        does not exist, and the caller makes the reports again.
    """
    first = records[0]
    assert first is not None
    try:
        store.get_folder(first.reports, folder, first.files)
    except (MissingObjectError, DamagedObjectError) as error:
        log.warning("the reports of the last ingestion are made again: %s", error)
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True


def write_records(
    store: Store, folders: list[str], sources: list[Source], state: str, version: Version, reports: Path
) -> None:
    """Record an ingestion, and delete the reports of earlier ingestions.

    Args:
        store: Storage root.
        folders: The folder of each source in the store.
        sources: The sources that were ingested.
        state: State of all sources, or "" if a file has no tag.
        version: The data set version that was made from the sources.
        reports: Local folder with the reports.
    """
    files = {path.name: file_digest(path) for path in reports.iterdir()}
    stored_reports = f"{folders[0]}/reports/{digest(files)}"
    obsolete = _old_reports(store, folders[0], stored_reports)

    store.put_folder(stored_reports, reports)
    for folder, source in zip(folders, sources, strict=True):
        record = Record(source.name, state, version.digest, stored_reports, files)
        write_record(store, f"{folder}/latest.json", record)
    store.delete(obsolete)


def _old_reports(store: Store, folder: str, current: str) -> list[str]:
    """Return the keys of reports that can be deleted.

    Such reports are older than a day, and not in the folder `current`. Another ingestion may still read newer reports.
    """
    yesterday = datetime.datetime.now(datetime.UTC) - REPORTS_STAY_READABLE
    stored = store.objects(f"{folder}/reports/")
    return [one.key for one in stored if one.changed < yesterday and not one.key.startswith(f"{current}/")]
