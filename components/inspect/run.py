"""Inspect photos: cut them into tiles, classify the tiles, join the answers into findings, and write the results.

The results of a photo are written as soon as it is finished. So if an inspection is killed, the next call continues
with the first unfinished photo. The tables are built from the records of all photos.
"""

from collections.abc import Callable
from pathlib import Path

from components.inspect.config import FORMAT, InspectConfig
from components.inspect.overlays import write_jpeg
from components.inspect.page import write_inspection_page
from components.inspect.photo_inspection import Inspection, inspect_photo
from components.inspect.record import (
    OVERLAYS,
    RECORDS,
    TILES,
    InspectedPhoto,
    PhotoRecord,
    file_stem,
    read_record,
    write_record,
)
from components.inspect.tables import write_tables
from components.inspect.tile_answers import Model
from components.shared.atomic_file import atomic_file
from components.shared.data.image_structure import ImageError
from components.shared.errors import InputError
from components.shared.hashing import digest, file_digest
from components.shared.regular_file import reason


def inspect_photos(
    paths: list[Path], model: Model, config: InspectConfig, folder: Path, progress: Callable[[str], None]
) -> list[InspectedPhoto]:
    """Inspect photos, and return one result for each path, in order. Finished photos are not inspected again.

    Args:
        paths: Image files.
        model: A registered model version.
        config: Scale, overlap and number of close-ups.
        folder: Folder for the results. Each photo gets a record, a table of tiles, an overlay and close-ups.
        progress: Called after each photo, with its path.

    Raises:
        OSError: A result cannot be written.
        InputError: A folder of the results cannot be written to.
    """
    inspected: list[InspectedPhoto] = []
    first_paths: dict[str, Path] = {}
    for path in paths:
        inspected.append(_inspect_once(path, model, config, folder, first_paths))
        progress(str(path))
    return inspected


def _inspect_once(
    path: Path, model: Model, config: InspectConfig, folder: Path, first_paths: dict[str, Path]
) -> InspectedPhoto:
    """Inspect a photo, or return the record that an earlier call wrote.

    If an earlier photo has the same content, the result only names the earlier photo. `first_paths` contains the
    earlier photos: digest of the content -> path. This function adds each photo with new content to `first_paths`.
    """
    try:
        sha256 = file_digest(path)
    except OSError as error:
        return InspectedPhoto(path, error=reason(error))

    if sha256 in first_paths:
        return InspectedPhoto(path, same_as=str(first_paths[sha256]))
    first_paths[sha256] = path

    identity = digest(FORMAT, sha256, model.digest, model.name, model.version, config.identity())
    record_file = folder / RECORDS / f"{file_stem(path, sha256)}.json"
    record = read_record(record_file, identity)
    if record is not None and _has_files(record, folder):
        return InspectedPhoto(path, record, is_reused=True)

    try:
        inspection = inspect_photo(path, sha256, identity, model, config)
    except OSError as error:
        return InspectedPhoto(path, error=reason(error))
    except ImageError as error:
        return InspectedPhoto(path, error=str(error))

    _write(inspection, file_stem(path, sha256), record_file, folder)
    return InspectedPhoto(path, inspection.record)


def _write(inspection: Inspection, stem: str, record_file: Path, folder: Path) -> None:
    """Write the results of a photo. Results that an earlier call wrote are replaced.

    The record is written last, so a photo with a record is complete.
    """
    record_file.unlink(missing_ok=True)
    for close_up in (folder / OVERLAYS).glob(f"{stem}_finding_*.jpg"):
        close_up.unlink()

    for name, pixels in inspection.drawings.items():
        write_jpeg(pixels, folder / OVERLAYS / name)
    with atomic_file(folder / TILES / f"{stem}.csv") as file:
        inspection.tiles.to_csv(file, index=False, float_format="%.6g")
    write_record(inspection.record, record_file)


def _has_files(record: PhotoRecord, folder: Path) -> bool:
    names = (record.overlay, *record.close_ups)
    return all((folder / OVERLAYS / name).is_file() for name in names)


def prepare_folder(folder: Path) -> None:
    """Create the folder of the results, so that an error in its path is reported before a model is loaded.

    Raises:
        InputError: The folder cannot be created or written to.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the results")
    for name in (RECORDS, TILES, OVERLAYS):
        with atomic_file(folder / name / ".writable"):
            pass
        (folder / name / ".writable").unlink()


def write_results(photos: list[InspectedPhoto], model: Model, config: InspectConfig, folder: Path) -> None:
    """Write the tables, the map and the page about all photos."""
    write_tables(photos, folder)
    write_inspection_page(photos, model, config, folder)
