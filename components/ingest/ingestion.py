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

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.ingest.config import IngestConfig
from components.ingest.examination import Picture, Refusal, examine
from components.ingest.history import PAIRS, History
from components.ingest.layouts import Item
from components.ingest.report import write_page
from components.ingest.selection import Selection, select
from components.ingest.shortcuts import audit_shortcuts
from components.ingest.sources import Source, open_sources
from components.ingest.uri import parse_sources
from components.shared.manifest import CLASSES, Manifest, make_manifest, write_manifest
from components.shared.runtime import InputError, log, progress, warn
from components.shared.shards import Member, Place, commit, is_committed, write_shards
from components.shared.storage import Store

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
    found = _examine(sources, history, config)
    refused = [one for one in found if isinstance(one, Refusal)]
    for source in sources:
        _check_refused(source, refused, config)
    previous = history.previous()
    selection = select([one for one in found if isinstance(one, Picture)], config.near_duplicate, previous.past)
    _check_enough(selection, config)
    new = [p for p in selection.pictures if (p.sample_id, p.mask_id) not in previous.places]
    _bring(sources, [picture.item for picture in new])
    progress(0, 2, "packing")
    version = scratch / "version"
    packed = {
        (p.sample_id, p.mask_id): place
        for p, place in zip(new, write_shards(_members(new), version / "shards"), strict=True)
    }
    places = [packed.get(key) or previous.places[key] for key in ((p.sample_id, p.mask_id) for p in selection.pictures)]
    manifest = make_manifest(_table(selection, places))
    progress(1, 2, "storing")
    report = _report(sources, selection, refused, manifest)
    (version / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
    write_page(report, manifest, selection, _reader(store, selection, places), version / PAGE)
    if not is_committed(store, manifest.digest):
        write_manifest(manifest, version / "manifest.parquet")
        _write_pairs(selection, version / PAIRS)
        used = {place.shard for place in places}
        earlier = {name: size for name, size in previous.shards.items() if name in used}
        about = {"images": len(manifest.table), "previous": previous.digest}
        commit(store, manifest.digest, version, about, earlier)
    history.remember(manifest.digest, sources, found, [version / REPORT, version / PAGE])
    return manifest.digest


def _examine(sources: list[Source], history: History, config: IngestConfig) -> list[Picture | Refusal]:
    """What is in every file, in the order of the sources' items; only those without a history are looked at."""
    known = history.known(sources)
    new = [item for source in sources for item in source.items if item not in known]
    _bring(sources, new)
    known.update(zip(new, examine(new, config), strict=True))
    return [known[item] for source in sources for item in source.items]


def _bring(sources: list[Source], items: list[Item]) -> None:
    for source in sources:
        source.bring([item for item in items if item.source == source.name])


def _reader(store: Store, selection: Selection, places: list[Place]) -> Callable[[int], bytes]:
    """Reads a picture by its index, from its file where that is here, else from the shard in the store."""

    def read(index: int) -> bytes:
        picture, place = selection.pictures[index], places[index]
        with suppress(OSError, InputError):
            return _read_again(picture.item.folder / picture.item.path, picture.sample_id)
        return store.get_part(f"shards/{place.shard}", place.offset, place.size)

    return read


def _write_pairs(selection: Selection, path: Path) -> None:
    names = [picture.sample_id for picture in selection.pictures]
    columns = {"first": selection.near_pairs[:, 0], "second": selection.near_pairs[:, 1]}
    table = pa.table({name: pa.array([names[i] for i in column], pa.string()) for name, column in columns.items()})
    pq.write_table(table, path, compression="zstd")


def _members(pictures: list[Picture]) -> Iterator[Member]:
    for picture in pictures:
        folder = picture.item.folder
        image = _read_again(folder / picture.item.path, picture.sample_id)
        if picture.item.mask is None:
            yield Member(picture.sample_id, image, picture.suffix)
        else:
            mask = _read_again(folder / picture.item.mask, picture.mask_id)
            yield Member(picture.sample_id, image, picture.suffix, mask, picture.mask_suffix)


def _read_again(path: Path, digest: str | None) -> bytes:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"{path} was changed while it was being ingested; run again when nothing writes there")
    return data


def _table(selection: Selection, places: list[Place]) -> pd.DataFrame:
    pictures = selection.pictures
    return pd.DataFrame(
        {
            "sample_id": [p.sample_id for p in pictures],
            "path": [p.item.path for p in pictures],
            "source": [p.item.source for p in pictures],
            "label": [p.item.label for p in pictures],
            "surface": [p.item.surface for p in pictures],
            "group_id": selection.group_ids,
            "width": [p.width for p in pictures],
            "height": [p.height for p in pictures],
            "phash": [bytes(row).hex() for row in selection.hashes],
            "mask_id": [p.mask_id for p in pictures],
            "shard": [place.shard for place in places],
            "offset": [place.offset for place in places],
            "size": [place.size for place in places],
            "mask_offset": pd.array([place.mask_offset for place in places], dtype="Int64"),
            "mask_size": pd.array([place.mask_size for place in places], dtype="Int64"),
        }
    )


def _report(sources: list[Source], selection: Selection, refused: list[Refusal], manifest: Manifest) -> dict:
    quarantine = refused + selection.conflicts + selection.bridges
    return {
        "digest": manifest.digest,
        "files": sum(len(source.items) for source in sources),
        "images": len(manifest.table),
        **{name: int((manifest.table["label"] == label).sum()) for label, name in enumerate(CLASSES)},
        "groups": int(manifest.table["group_id"].nunique()),
        "exact_copies": len(selection.copies),
        "near_duplicate_pairs": len(selection.near_pairs),
        "masks": int(manifest.table["mask_id"].notna().sum()),
        "refused": len(refused),
        "conflicts": len(selection.conflicts),
        "bridges": len(selection.bridges),
        "sources": [_source_report(source, selection, refused, manifest) for source in sources],
        "shortcuts": audit_shortcuts(selection.pictures),
        "quarantine": [{"source": e.item.source, "path": e.item.path, "reason": e.reason} for e in quarantine],
        "copies": [{"path": path, "kept": kept} for path, kept in selection.copies],
    }


def _source_report(source: Source, selection: Selection, refused: list[Refusal], manifest: Manifest) -> dict:
    labels = manifest.table.loc[manifest.table["source"] == source.name, "label"]
    return {
        "source": source.name,
        "layout": source.layout,
        "files": len(source.items),
        "images": len(labels),
        **{name: int((labels == label).sum()) for label, name in enumerate(CLASSES)},
        "refused": sum(entry.item.source == source.name for entry in refused),
        "conflicts": sum(entry.item.source == source.name for entry in selection.conflicts),
        "bridges": sum(entry.item.source == source.name for entry in selection.bridges),
    }


def _check_refused(source: Source, refused: list[Refusal], config: IngestConfig) -> None:
    files, bad = len(source.items), [entry for entry in refused if entry.item.source == source.name]
    for entry in bad:
        log.warning("refused %s of %s: %s", entry.item.path, source.name, entry.reason)
    if len(bad) > config.max_refused * files:
        examples = "; ".join(f"{entry.item.path}: {entry.reason}" for entry in bad[:3])
        raise InputError(
            f"of the source {source.name}, {len(bad)} of {files} files are refused, more than max_refused "
            f"{config.max_refused:g} allows ({examples}); mend or remove them, or raise max_refused"
        )
    if refused:
        first = refused[0]
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        warn(f"refused {first.item.path}: {first.reason}{more}; the report lists what was refused")


def _check_enough(selection: Selection, config: IngestConfig) -> None:
    for label, name in enumerate(CLASSES):
        images = sum(picture.item.label == label for picture in selection.pictures)
        if images < config.min_images:
            raise InputError(
                f"{name} has {images} good images, and at least min_images {config.min_images} are needed: add images"
            )
