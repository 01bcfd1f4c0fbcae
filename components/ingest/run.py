"""Make a data set version of one or more sources: examine, select, pack, commit."""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.ingest.config import IngestConfig
from components.ingest.earlier_versions import LEFT_OUT, PAIRS, PHOTOS, PLACES
from components.ingest.examination import examine
from components.ingest.grouping import QUARANTINE, Selection, select
from components.ingest.page import Opposed, report_content, write_page
from components.ingest.source_history import History
from components.ingest.sources.open_sources import Source, open_sources
from components.ingest.sources.uri import SourceUri, parse_sources
from components.ingest.text_lookup import look_up
from components.ingest.thumbnails import Thumbnails, blank
from components.shared.data.manifest import CLASSES, content_digest, make_manifest, plain, write_manifest
from components.shared.data.shards import Member
from components.shared.data.versions import Version, commit, put_images
from components.shared.errors import InputError
from components.shared.events import log, progress, warn
from components.shared.scratch import scratch_folder
from components.shared.services.store import Store

REPORTS, PAGE, REPORT = "reports", "report.html", "report.json"
OPPOSED = 20  # pairs of pictures under both labels, shown


@dataclass(frozen=True)
class Ingested:
    """What came of an ingestion: the version's digest, and counts worth a glance in the KFP UI."""

    digest: str
    counts: dict[str, int]


def ingest_dataset(data_uri: str, manifest_path: str | Path, page_path: str | Path, config: IngestConfig) -> Ingested:
    """Bring a source into the store as a data set version, unless it is there already.

    The version is named by its content and committed by its last object, so that nothing half-written is ever seen,
    an ingestion that was killed is simply done again, and two that race write the same.

    Args:
        data_uri: The sources, as `components/ingest/sources/uri.py` describes them.
        manifest_path: Where to write the manifest.
        page_path: Where to write the data set report, HTML.
        config: Parameters.

    Raises:
        InputError: A source is missing, has no known layout, only one class, too few good pictures or too many refused
            ones; the store cannot be used; or the disk for temporary files is full.
    """
    store = Store(config.store)
    with scratch_folder() as scratch, _full_disk_explained(scratch, Path(manifest_path).parent):
        version = _find_or_make(store, parse_sources(data_uri), config, scratch)
        log.info("the data set version is %s", version.digest)
        store.get_file(version.key("manifest.parquet"), manifest_path)
        shutil.copyfile(scratch / REPORTS / PAGE, page_path)
        report = json.loads((scratch / REPORTS / REPORT).read_bytes())
        return Ingested(version.digest, {name: value for name, value in report.items() if isinstance(value, int)})


@contextmanager
def _full_disk_explained(scratch: Path, results: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InputError(
            f"the disk is full: {shutil.disk_usage(scratch).free} bytes are free at {scratch}, and "
            f"{shutil.disk_usage(results).free} at {results}; make room, or set TMPDIR to a folder on a larger disk"
        ) from error


def _find_or_make(store: Store, uris: list[SourceUri], config: IngestConfig, scratch: Path) -> Version:
    """The version that the sources are, made where they have changed; its reports are then in the folder `REPORTS`."""
    history = History(store, uris, config, scratch)
    version = history.unchanged_archives()
    if version is None:
        sources = open_sources(uris, config, scratch)
        version = history.unchanged(sources)
        if version is None:
            return _make(store, sources, history, config, scratch)
    history.get_reports(scratch / REPORTS)
    return version


def _make(store: Store, sources: list[Source], history: History, config: IngestConfig, scratch: Path) -> Version:
    """Make a version of what is known of the sources and what is new in them."""
    files, thumbnails = _examine(sources, history, config)
    refused = files.loc[files["reason"].notna(), QUARANTINE]
    for source in sources:
        _check_refused(source, refused, config)
    _warn_of("refused", refused)
    previous = history.previous()
    selection = select(files[files["reason"].isna()], thumbnails.read, config.near_duplicate, previous.past)
    _warn_of("left out", pd.concat([selection.conflicts, selection.bridges]))
    _check_enough(selection, config)
    placed = _placed(selection.pictures, previous.places)
    new = placed[placed["shard"].isna()]
    for source in sources:  # before they are read from two sides
        source.bring(new[new["source"] == source.name])
    digest, folder, reports = content_digest(placed), scratch / "version", scratch / REPORTS
    with ThreadPoolExecutor(2) as pool:
        kept = pool.submit(history.keep_findings, sources, files, thumbnails)
        packing = pool.submit(_pack, store, sources, new, scratch / "shards")
        reports.mkdir()
        report = report_content(sources, selection, refused, digest)
        (reports / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
        opposed = _opposed(sources, files.loc[selection.opposed[:OPPOSED].ravel()])
        write_page(report, selection, _reader(store, sources, placed), opposed, reports / PAGE)
        shutil.copytree(reports, folder)
        _write_kin(selection, folder)
        places, shards = packing.result()
        kept.result()
    placed.update(places)
    write_manifest(make_manifest(placed, digest), folder / "manifest.parquet")
    used = {name: previous.shards[name] for name in set(placed["shard"]) & set(previous.shards)}
    version = commit(store, digest, folder, used | shards)
    history.remember(version.digest, sources, reports)
    return version


def _examine(sources: list[Source], history: History, config: IngestConfig) -> tuple[pd.DataFrame, Thumbnails]:
    """What is in every file, whether that is `new`, and the thumbnails; only files without a history are looked at."""
    files = pd.concat([source.files.assign(source=source.name) for source in sources], ignore_index=True)
    thumbnails, found = Thumbnails(len(files)), []
    for source in sources:
        mine = files[files["source"] == source.name]
        known = history.known(source, mine, thumbnails)
        new = mine.drop(known.index)
        source.bring(new)
        small = blank(len(new))
        looked_at = examine(new, source.folder, small, config)
        thumbnails.add(new.index.to_numpy(), small, np.arange(len(new)))
        found += [known.assign(new=False), looked_at.assign(new=True)]
    return files.join(pd.concat(found)), thumbnails


def _placed(pictures: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """Pictures with the places that earlier versions gave them and their masks, missing where none did."""
    found = look_up(pictures["sample_id"], places, "sample_id")
    same = pictures["mask_id"].fillna("") == found["mask_id"].fillna("")
    return pictures.join(found.drop(columns=["sample_id", "mask_id"])[same])


def _pack(
    store: Store, sources: list[Source], pictures: pd.DataFrame, folder: Path
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Pack and store pictures; return their places, by their index, and the sizes of the shards by name."""
    folders = {source.name: source.folder for source in sources}
    places, shards = put_images(store, _members(pictures, folders), folder)
    progress(len(pictures), len(pictures), "packing and storing")
    return pd.DataFrame(map(vars, places), pictures.index, list(PLACES)).astype(PLACES), shards


def _reader(store: Store, sources: list[Source], pictures: pd.DataFrame) -> Callable[[int], bytes]:
    """Reads a picture by its index, from its file where that is here, else from the shard in the store."""
    columns = [pictures[name].array for name in ("source", "path", "sample_id", "shard", "offset", "size")]
    folders = {source.name: source.folder for source in sources}

    def read(index: int) -> bytes:
        source, path, sample_id, shard, offset, size = (column[index] for column in columns)
        try:
            return _read_again(folders[source] / path, sample_id)
        except (OSError, InputError):
            if pd.isna(shard):
                raise
        return store.get_part(f"shards/{shard}", int(offset), int(size))

    return read


def _opposed(sources: list[Source], files: pd.DataFrame) -> list[Opposed]:
    """Names and contents of pictures under both labels; of `files`, each two follow each other."""
    folders = {source.name: source.folder for source in sources}
    for source in sources:
        source.bring(files[files["source"] == source.name])
    names = [f"{source}/{path}" for source, path in zip(files["source"], files["path"], strict=True)]
    rows = zip(files["source"], files["path"], files["sample_id"], strict=True)
    contents = [_read_again(folders[source] / path, sample_id) for source, path, sample_id in rows]
    pairs = range(0, len(names), 2)
    return [Opposed((names[at], names[at + 1]), (contents[at], contents[at + 1])) for at in pairs]


def _write_kin(selection: Selection, folder: Path) -> None:
    """Write what must not be parted, apart from the groups that were made of it: whoever checks these needs it."""
    pictures = selection.pictures
    names = pictures["sample_id"].to_numpy()
    pairs = pd.DataFrame({"first": names[selection.near_pairs[:, 0]], "second": names[selection.near_pairs[:, 1]]})
    pairs.astype("str").to_parquet(folder / PAIRS, compression="zstd")
    photos = pictures[["sample_id"]].assign(photo=pictures["source"] + ":" + pictures["photo"]).dropna()
    photos.astype("str").to_parquet(folder / PHOTOS, compression="zstd", index=False)
    selection.left_out.to_parquet(folder / LEFT_OUT, compression="zstd", index=False)


def _members(pictures: pd.DataFrame, folders: dict[str, Path]) -> Iterator[Member]:
    columns = ["source", "path", "sample_id", "suffix", "mask", "mask_id", "mask_suffix"]
    rows = zip(*(plain(pictures[name]) for name in columns), strict=True)
    for number, (source, path, sample_id, suffix, mask, mask_id, mask_suffix) in enumerate(rows):
        if number % 1000 == 0:
            progress(number, len(pictures), "packing and storing")
        image = _read_again(folders[source] / path, sample_id)
        if mask is None:
            yield Member(sample_id, image, suffix)
        else:
            yield Member(sample_id, image, suffix, _read_again(folders[source] / mask, mask_id), mask_suffix)


def _read_again(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"{path} was changed or removed while it was being ingested; run again when nothing does so")
    return data


def _check_refused(source: Source, refused: pd.DataFrame, config: IngestConfig) -> None:
    files, bad = len(source.files), refused[refused["source"] == source.name]
    named = [f"{path}: {reason}" for path, reason in zip(bad["path"], bad["reason"], strict=True)]
    for name, reason in zip(bad["path"], bad["reason"], strict=True):
        log.warning("refused %s of %s: %s", name, source.name, reason)
    if len(bad) > config.max_refused * files:
        raise InputError(
            f"of the source {source.name}, {len(bad)} of {files} files are refused, more than max_refused "
            f"{config.max_refused:g} allows ({'; '.join(named[:3])}); mend or remove them, or raise max_refused"
        )


def _warn_of(what: str, files: pd.DataFrame) -> None:
    if len(files):
        first = files.iloc[0]
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        warn(f"{what} {first['path']}: {first['reason']}{more}; the report lists what was {what}")


def _check_enough(selection: Selection, config: IngestConfig) -> None:
    for label, name in enumerate(CLASSES):
        images = int((selection.pictures["label"] == label).sum())
        if images < config.min_images:
            raise InputError(
                f"{name} has {images} good images, and at least min_images {config.min_images} are needed: add images"
            )
