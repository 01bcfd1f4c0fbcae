"""Turn one or more sources into a data set version: examine, group, pack, commit."""

import errno
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.ingest.config import IngestConfig
from components.ingest.contents import check_enough
from components.ingest.corrected_labels import apply_corrections, read_standing
from components.ingest.earlier_versions import (
    NEAR_DUPLICATES,
    OVERLAP_TYPES,
    OVERLAPS,
    PHOTOS,
    QUARANTINED,
    read_earlier_versions,
)
from components.ingest.examination import examine
from components.ingest.findings_index import FindingsIndex
from components.ingest.grouping import Selection, select
from components.ingest.label_conflicts import QUARANTINE_COLUMNS
from components.ingest.messages import say, say_source
from components.ingest.neighbour_groups import group_by_order
from components.ingest.overlap_search import OverlapSearch
from components.ingest.packing import ImageReader, SourceFiles, pack, with_known_places
from components.ingest.page import ConflictPair, report_content, write_page
from components.ingest.source_records import (
    Record,
    archives_state,
    fetch_reports,
    files_state,
    mark_use,
    read_records,
    recorded_versions,
    source_folders,
    unchanged_version,
    write_records,
)
from components.ingest.sources.open_sources import Source, open_sources
from components.ingest.sources.uri import SourceUri, parse_sources
from components.ingest.thumbnails import Thumbnails, blank
from components.shared.data.corrections import Standing
from components.shared.data.manifest import content_digest, make_manifest, read_manifest, write_manifest
from components.shared.data.versions import MANIFEST, Version, commit
from components.shared.errors import InputError
from components.shared.events import log, warn
from components.shared.scratch import scratch_folder
from components.shared.services.store import Store

PAGE, REPORT = "report.html", "report.json"
MAX_CONFLICT_PAIRS_SHOWN = 20
REASONS_IN_MESSAGE = 3


@dataclass(frozen=True)
class Ingested:
    """The result of an ingestion: the data set version's digest, and counts for the KFP UI."""

    digest: str
    counts: dict[str, int]


def ingest_dataset(data_uri: str, manifest_path: str | Path, page_path: str | Path, config: IngestConfig) -> Ingested:
    """Make a data set version from sources and store it. If the store already has this version, use the stored one.

    A version's name is the digest of its content. The object that we write last makes the version visible. So no reader
    sees an incomplete version, and an ingestion that was killed can be repeated. If two ingestions of the same content
    run at the same time, they write the same version.

    Args:
        data_uri: The sources, as `components/ingest/sources/uri.py` describes them.
        manifest_path: Where to write the manifest.
        page_path: Where to write the data set report, HTML.
        config: The parameters of ingestion.

    Raises:
        InputError: A source is missing, has no known layout, has only one class, has too few accepted images, or has
            too many refused files. Or the store cannot be used, or the disk for temporary files is full.
    """
    store = Store(config.store)
    uris = parse_sources(data_uri)
    with scratch_folder() as scratch, _full_disk_explained(scratch, Path(manifest_path).parent):
        reports = scratch / "reports"
        version = _find_or_make(store, uris, config, scratch, reports)
        log.info("the data set version is %s", version.digest)
        _fetch_manifest(store, version, Path(manifest_path))
        shutil.copyfile(reports / PAGE, page_path)

        report = json.loads((reports / REPORT).read_bytes())
        say(report)
        counts = {name: value for name, value in report.items() if isinstance(value, int)}
        return Ingested(version.digest, counts)


def _fetch_manifest(store: Store, version: Version, path: Path) -> None:
    """Fetch a version's manifest and check it, so that a damaged manifest stops this step and not a later step."""
    path.write_bytes(version.read(store, MANIFEST))
    if read_manifest(path).digest != version.digest:
        raise InputError(
            f"the manifest {store.uri}/{version.key(MANIFEST)} is damaged: its content does not have the digest "
            f"{version.digest}; restore the manifest from a backup of the store"
        )


@contextmanager
def _full_disk_explained(scratch: Path, results: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InputError(
            f"the disk is full: {shutil.disk_usage(scratch).free} bytes are free at {scratch}, and "
            f"{shutil.disk_usage(results).free} bytes at {results}; free some space, or set TMPDIR to a folder on a "
            "larger disk"
        ) from error


def _find_or_make(store: Store, uris: list[SourceUri], config: IngestConfig, scratch: Path, reports: Path) -> Version:
    """Find the data set version of the sources, or make it if the sources or people's corrections have changed.

    The version's reports are put in `reports`.
    """
    folders = source_folders(uris, config)
    mark_use(store, folders)
    records = read_records(store, folders)
    standing = read_standing(store, config.correction_keys)

    state = archives_state(uris, folders, config, standing.digest)
    version = unchanged_version(store, records, state)
    if version is not None and fetch_reports(store, records, reports):
        for each in json.loads((reports / REPORT).read_bytes())["sources"]:
            say_source(each["source"], each["understood"], each["warnings"])
        return version

    # If the ingestion fails later, people need to know what it recognised.
    sources = open_sources(uris, config, scratch)
    for source in sources:
        say_source(source.name, source.understood, source.warnings)
    state = state or files_state(sources, folders, config, standing.digest)
    version = unchanged_version(store, records, state)
    if version is None or not fetch_reports(store, records, reports):
        indexes = [FindingsIndex(store, folder, scratch) for folder in folders]
        version = _make(store, sources, indexes, records, standing, config, scratch, reports)
        write_records(store, folders, sources, state, version, reports)
    return version


def _make(
    store: Store,
    sources: list[Source],
    indexes: list[FindingsIndex],
    records: list[Record | None],
    standing: Standing,
    config: IngestConfig,
    scratch: Path,
    reports: Path,
) -> Version:
    """Make a data set version. Use what earlier ingestions recorded, and examine only the new files.

    Args:
        store: Storage root.
        sources: The sources whose files form the version.
        indexes: For each source, what earlier ingestions found in its files.
        records: For each source, the record of its last ingestion; None if it was never ingested.
        standing: People's answers about tiles.
        config: The parameters of ingestion.
        scratch: Local folder for temporary files.
        reports: Local folder for the reports; it is created.
    """
    files, thumbnails = _examine(sources, indexes, config)
    refused = pd.concat([*map(_refused_photos, sources), files.loc[files["reason"].notna(), QUARANTINE_COLUMNS]])
    for source in sources:
        _check_refused(source, refused, config)
    _warn_about("refused", refused)

    earlier = read_earlier_versions(store, recorded_versions(store, records))
    accepted = files[files["reason"].isna()]
    corrected = apply_corrections(accepted, standing, sources)
    selection = select(
        corrected.images,
        thumbnails.read,
        config.near_duplicate,
        earlier.groups,
        given=accepted["sample_id"],
        search=_overlap_search(store, sources, with_known_places(corrected.images, earlier.places), thumbnails, config),
    )
    selection, order_hints = group_by_order(selection, set(earlier.groups.groups["group_id"]), config)
    _warn_about("in quarantine", pd.concat([selection.conflicts, selection.between_groups, corrected.quarantined]))
    check_enough(selection.images, corrected.images, config.min_images)

    images = with_known_places(selection.images, earlier.places)
    new = images[images["shard"].isna()]
    # Packing and the page both read the new files, so fetch the files first.
    for source in sources:
        source.bring(new[new["source"] == source.name])
    digest = content_digest(images)
    folder = scratch / "version"
    with ThreadPoolExecutor(2) as pool:
        packing = pool.submit(pack, store, sources, new, scratch / "shards")
        indexing = pool.submit(_keep_findings, sources, indexes, files, thumbnails)

        report = report_content(sources, selection, corrected, refused, order_hints, digest)
        reports.mkdir()
        (reports / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
        shown = selection.conflict_pairs[:MAX_CONFLICT_PAIRS_SHOWN]
        conflict_pairs = _read_conflict_pairs(sources, files.loc[shown.ravel()])
        write_page(report, selection, ImageReader(store, sources, images).read, conflict_pairs, reports / PAGE)
        shutil.copytree(reports, folder)
        _write_relations(selection, folder)

        places, new_shards = packing.result()
        indexing.result()

    images.update(places)
    write_manifest(make_manifest(images, digest), folder / MANIFEST)
    known_shards = earlier.shards | new_shards
    used = {name: known_shards[name] for name in images["shard"].unique()}
    return commit(store, digest, folder, used)


def _overlap_search(
    store: Store, sources: list[Source], images: pd.DataFrame, thumbnails: Thumbnails, config: IngestConfig
) -> OverlapSearch | None:
    if config.overlap is None:
        return None
    # The files that the store does not have must be on this machine.
    for source in sources:
        source.bring(images[images["shard"].isna() & (images["source"] == source.name)])
    reader = ImageReader(store, sources, images)
    return OverlapSearch(thumbnails.read_landmarks, reader.read, config.overlap)


def _examine(
    sources: list[Source], indexes: list[FindingsIndex], config: IngestConfig
) -> tuple[pd.DataFrame, Thumbnails]:
    """Examine the files that earlier ingestions have not examined yet.

    Returns:
        Two values: a table of the files of all sources, and their thumbnails. A file has the same row number in both.
        For each file, the table has the name of its source and what was found in it. The column `new` is true for files
        that were examined now.
    """
    files = pd.concat([source.files.assign(source=source.name) for source in sources], ignore_index=True)
    thumbnails = Thumbnails(len(files))
    found = []
    for source, index in zip(sources, indexes, strict=True):
        own = files[files["source"] == source.name]
        known = index.read(own, thumbnails)
        unknown = own.drop(known.index)

        source.bring(unknown)
        new_thumbnails = blank(len(unknown))
        examined = examine(unknown, source.folder, new_thumbnails, config)
        thumbnails.add(unknown.index.to_numpy(), new_thumbnails, np.arange(len(unknown)))
        found += [known.assign(new=False), examined.assign(new=True)]
    return files.join(pd.concat(found)), thumbnails


def _keep_findings(
    sources: list[Source], indexes: list[FindingsIndex], files: pd.DataFrame, thumbnails: Thumbnails
) -> None:
    for source, index in zip(sources, indexes, strict=True):
        index.add(files[files["source"] == source.name], thumbnails)


def _read_conflict_pairs(sources: list[Source], files: pd.DataFrame) -> list[ConflictPair]:
    """Read pairs of files that show the same image with both labels. A pair has two adjacent rows in `files`."""
    for source in sources:
        source.bring(files[files["source"] == source.name])

    source_files = SourceFiles(sources)
    names, contents = [], []
    for source_name, path, sample_id in zip(files["source"], files["path"], files["sample_id"], strict=True):
        names.append(f"{source_name}/{path}")
        contents.append(source_files.read(source_name, path, sample_id))

    pairs = []
    for first in range(0, len(names), 2):
        second = first + 1
        pairs.append(ConflictPair(names[first], contents[first], names[second], contents[second]))
    return pairs


def _write_relations(selection: Selection, folder: Path) -> None:
    """Write four tables: the near duplicates, the overlaps, the photo of each image, and the images in quarantine.

    Near duplicates, overlapping images and images of one photo must be in the same split. The split step uses the first
    three tables to check this. So the check does not depend on the groups that we form here.
    """
    images = selection.images
    names = images["sample_id"].to_numpy()
    pairs = pd.DataFrame(names[selection.near_pairs], columns=["first", "second"])
    pairs.astype("str").to_parquet(folder / NEAR_DUPLICATES, compression="zstd")

    overlaps = selection.overlaps.assign(
        first=names[selection.overlaps["first"]], second=names[selection.overlaps["second"]]
    )
    overlaps.astype(OVERLAP_TYPES).to_parquet(folder / OVERLAPS, compression="zstd", index=False)

    photos = images[["sample_id"]].assign(photo=images["source"] + ":" + images["photo"]).dropna()
    photos.astype("str").to_parquet(folder / PHOTOS, compression="zstd", index=False)
    selection.quarantined.to_parquet(folder / QUARANTINED, compression="zstd", index=False)


def _refused_photos(source: Source) -> pd.DataFrame:
    """Return the photos that were refused before they were cut into tiles, with the columns of the quarantine."""
    rows = [(source.name, photo, reason) for photo, reason in source.refused]
    return pd.DataFrame(rows, columns=QUARANTINE_COLUMNS).astype("str")


def _check_refused(source: Source, refused: pd.DataFrame, config: IngestConfig) -> None:
    own = refused[refused["source"] == source.name]
    reasons = []
    for path, reason in zip(own["path"], own["reason"], strict=True):
        log.warning("refused %s of %s: %s", path, source.name, reason)
        reasons.append(f"{path}: {reason}")

    files = len(source.files)
    if len(own) > config.max_refused * files:
        raise InputError(
            f"{len(own)} of the {files} files of the source {source.name} are refused, more than "
            f"ingest.max_refused {config.max_refused:g} allows ({'; '.join(reasons[:REASONS_IN_MESSAGE])}); fix or "
            "remove these files, or raise ingest.max_refused"
        )


def _warn_about(what: str, files: pd.DataFrame) -> None:
    if len(files):
        first = files.iloc[0]
        warn(
            f"files {what}: {len(files)}; the first is {first['path']}: {first['reason']}. The data set report lists "
            f"all files {what}"
        )
