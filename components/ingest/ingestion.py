"""Make a data set version of one or more sources: examine, select, pack, commit."""

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ingest.config import IngestConfig
from components.ingest.examination import THUMBNAIL, examine
from components.ingest.history import PAIRS, PHOTOS, PLACES, History, Previous
from components.ingest.report import write_page
from components.ingest.selection import QUARANTINE, Selection, select
from components.ingest.shortcuts import audit_shortcuts
from components.ingest.sources import Source, open_sources
from components.ingest.uri import parse_sources
from components.shared.manifest import CLASSES, Manifest, make_manifest, plain, write_manifest
from components.shared.runtime import InputError, log, progress, warn
from components.shared.shards import Member, write_shards
from components.shared.storage import Store
from components.shared.versions import commit, is_committed

PAGE, REPORT = "report.html", "report.json"


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
        data_uri: The sources, as `components/ingest/uri.py` describes them.
        manifest_path: Where to write the manifest.
        page_path: Where to write the data set report, HTML.
        config: Parameters.

    Raises:
        InputError: A source is missing, has no known layout, only one class, too few good pictures or too many refused
            ones; the store cannot be used; or the disk for temporary files is full.
    """
    store = Store(config.store)
    scratch = Path(tempfile.mkdtemp(prefix="ingest-"))
    try:
        uris = parse_sources(data_uri)
        history = History(store, uris, config)
        digest = history.unchanged_archives()
        if digest is None:
            sources = open_sources(uris, config, scratch)
            digest = history.unchanged(sources) or _make(store, sources, history, config, scratch)
        log.info("the data set version is %s", digest)
        store.get_file(f"datasets/{digest}/manifest.parquet", manifest_path)
        store.get_file(f"{history.folder}/{PAGE}", page_path)
        report = json.loads(store.get_bytes(f"{history.folder}/{REPORT}"))
        return Ingested(digest, {name: value for name, value in report.items() if isinstance(value, int)})
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        results = Path(manifest_path).parent
        raise InputError(
            f"the disk is full: {shutil.disk_usage(scratch).free} bytes are free at {scratch}, and "
            f"{shutil.disk_usage(results).free} at {results}; make room, or set TMPDIR to a folder on a larger disk"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _make(store: Store, sources: list[Source], history: History, config: IngestConfig, scratch: Path) -> str:
    """Make a version of what is known of the sources and what is new in them; return its digest."""
    files, thumbnails = _examine(sources, history, config)
    refused = files.loc[files["reason"].notna(), QUARANTINE]
    for source in sources:
        _check_refused(source, refused, config)
    _warn_of("refused", refused)
    previous = history.previous()
    selection = select(files[files["reason"].isna()], thumbnails, config.near_duplicate, previous.past)
    _warn_of("left out", pd.concat([selection.conflicts, selection.bridges]))
    _check_enough(selection, config)
    progress(0, 2, "packing")
    version = scratch / "version"
    packed = _pack(sources, selection.pictures, previous, version / "shards")
    manifest = make_manifest(packed)
    progress(1, 2, "storing")
    report = _report(sources, selection, refused, manifest)
    (version / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
    write_page(report, manifest, selection, _reader(store, sources, packed), version / PAGE)
    if not is_committed(store, manifest.digest):
        write_manifest(manifest, version / "manifest.parquet")
        _write_kin(selection, version)
        used = set(packed["shard"].unique())
        earlier = {name: size for name, size in previous.shards.items() if name in used}
        about = {"images": len(manifest.table), "previous": previous.digest}
        commit(store, manifest.digest, version, about, earlier)
    history.remember(manifest.digest, sources, files, thumbnails, [version / REPORT, version / PAGE])
    return manifest.digest


def _examine(sources: list[Source], history: History, config: IngestConfig) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """What is in every file, whether that is `new`, and the thumbnails; only files without a history are looked at."""
    files = pd.concat([source.files.assign(source=source.name) for source in sources], ignore_index=True)
    thumbnails = np.zeros((len(files), THUMBNAIL, THUMBNAIL), np.uint8)
    found = []
    for source in sources:
        mine = files[files["source"] == source.name]
        known = history.known(source, mine, thumbnails)
        new = mine.drop(known.index)
        source.bring(new)
        looked_at = examine(new, source.folder, thumbnails, config)
        found += [known.assign(new=False), looked_at.assign(new=True)]
    return files.join(pd.concat(found)), thumbnails


def _pack(sources: list[Source], pictures: pd.DataFrame, previous: Previous, folder: Path) -> pd.DataFrame:
    """Pack the pictures that no earlier version has; return all of them, with their places."""
    placed = pictures.merge(previous.places, "left", ["sample_id", "mask_id"])
    new = placed["shard"].isna()
    for source in sources:
        source.bring(placed[new & (placed["source"] == source.name)])
    folders = {source.name: source.folder for source in sources}
    packed = [vars(place) for place in write_shards(_members(placed[new], folders), folder)]
    placed.update(pd.DataFrame(packed, placed.index[new], list(PLACES)).astype(PLACES))
    return placed


def _reader(store: Store, sources: list[Source], pictures: pd.DataFrame) -> Callable[[int], bytes]:
    """Reads a picture by its index, from its file where that is here, else from the shard in the store."""
    folders = {source.name: source.folder for source in sources}

    def read(index: int) -> bytes:
        picture = pictures.iloc[index]
        with suppress(OSError, InputError):
            return _read_again(folders[picture["source"]] / picture["path"], picture["sample_id"])
        return store.get_part(f"shards/{picture['shard']}", int(picture["offset"]), int(picture["size"]))

    return read


def _write_kin(selection: Selection, folder: Path) -> None:
    """Write what must not be parted, apart from the groups that were made of it: whoever checks these needs it."""
    pictures = selection.pictures
    names = pictures["sample_id"].to_numpy()
    pairs = pd.DataFrame({"first": names[selection.near_pairs[:, 0]], "second": names[selection.near_pairs[:, 1]]})
    pairs.astype("str").to_parquet(folder / PAIRS, compression="zstd")
    photos = pictures[["sample_id"]].assign(photo=pictures["source"] + ":" + pictures["photo"]).dropna()
    photos.astype("str").to_parquet(folder / PHOTOS, compression="zstd", index=False)


def _members(pictures: pd.DataFrame, folders: dict[str, Path]) -> Iterator[Member]:
    columns = ["source", "path", "sample_id", "suffix", "mask", "mask_id", "mask_suffix"]
    rows = zip(*(plain(pictures[name]) for name in columns), strict=True)
    for source, path, sample_id, suffix, mask, mask_id, mask_suffix in rows:
        image = _read_again(folders[source] / path, sample_id)
        if mask is None:
            yield Member(sample_id, image, suffix)
        else:
            yield Member(sample_id, image, suffix, _read_again(folders[source] / mask, mask_id), mask_suffix)


def _read_again(path: Path, digest: str) -> bytes:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"{path} was changed while it was being ingested; run again when nothing writes there")
    return data


def _report(sources: list[Source], selection: Selection, refused: pd.DataFrame, manifest: Manifest) -> dict:
    table = manifest.table
    return {
        "digest": manifest.digest,
        "files": sum(len(source.files) for source in sources),
        "images": len(table),
        **{name: int((table["label"] == label).sum()) for label, name in enumerate(CLASSES)},
        "groups": int(table["group_id"].nunique()),
        "exact_copies": len(selection.copies),
        "near_duplicate_pairs": len(selection.near_pairs),
        "masks": int(table["mask_id"].notna().sum()),
        "refused": len(refused),
        "conflicts": len(selection.conflicts),
        "bridges": len(selection.bridges),
        "sources": [_source_report(source, selection, refused, manifest) for source in sources],
        "shortcuts": audit_shortcuts(selection.pictures),
        "quarantine": pd.concat([refused, selection.conflicts, selection.bridges]).to_dict("records"),
        "copies": selection.copies.to_dict("records"),
    }


def _source_report(source: Source, selection: Selection, refused: pd.DataFrame, manifest: Manifest) -> dict:
    labels = manifest.table.loc[manifest.table["source"] == source.name, "label"]
    left_out = {"refused": refused, "conflicts": selection.conflicts, "bridges": selection.bridges}
    return {
        "source": source.name,
        "layout": source.layout,
        "files": len(source.files),
        "images": len(labels),
        **{name: int((labels == label).sum()) for label, name in enumerate(CLASSES)},
        **{name: int((files["source"] == source.name).sum()) for name, files in left_out.items()},
    }


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
