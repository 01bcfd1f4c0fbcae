"""The result of one photo in the store: its files, and a record that is written last.

Later runs and restarted pods skip each photo that has a record without an error. The record has the sha256 of every
file, so files that were changed or damaged in the store are noticed.
"""

from dataclasses import dataclass
from pathlib import Path

from components.inspect.record import OVERLAYS, RECORDS, TILES, PhotoRecord, file_stem
from components.shared.errors import InputError
from components.shared.hashing import digest, file_digest
from components.shared.services.records import read_record, write_record
from components.shared.services.s3_failures import DamagedObjectError, MissingObjectError
from components.shared.services.store import Store, StoredObject

FINISHED = "finished"  # folder of the records, below the prefix of the results


@dataclass(frozen=True)
class StoredResult:
    """The result of one photo.

    Attributes:
        photo: Key of the photo, relative to the prefix of the photos.
        photo_sha256: Digest of the photo's file; "" if the file could not be read.
        error: Why there is no result; "" if there is a result.
        record: Name of the photo's record among `files`; "" if there is no result.
        files: Name of each file, relative to the prefix of the results -> its sha256.
    """

    photo: str
    photo_sha256: str
    error: str
    record: str
    files: dict[str, str]


def stored_result(store: Store, results: str, photo: StoredObject) -> StoredResult | None:
    """Return the result of a photo; None if there is none, or if its record is damaged.

    Args:
        store: The storage root.
        results: Prefix of the results in the store.
        photo: The photo. If it was uploaded again since the inspection, the earlier result does not count.
    """
    try:
        return read_record(store, _key(results, photo), StoredResult, "the photo is inspected again")
    except (MissingObjectError, DamagedObjectError):
        return None


def store_result(
    store: Store, results: str, photo: StoredObject, local: Path, sha256: str, record: PhotoRecord, folder: Path
) -> None:
    """Write the files of an inspected photo to the store, and then the record.

    Args:
        store: The storage root.
        results: Prefix of the results in the store.
        photo: The photo.
        local: The photo's file on this machine.
        sha256: Digest of the photo's file.
        record: The result of the photo.
        folder: Folder with the files of the result, as the command `inspect` writes them.
    """
    stem = file_stem(local, sha256)
    record_name = f"{RECORDS}/{stem}.json"
    names = [record_name, f"{TILES}/{stem}.csv"]
    for overlay in (record.overlay, *record.close_ups):
        names.append(f"{OVERLAYS}/{overlay}")

    store.put_files({f"{results}/{name}": folder / name for name in names})
    files = {name: file_digest(folder / name) for name in names}
    write_record(store, _key(results, photo), StoredResult(photo.key, sha256, "", record_name, files))


def store_failure(store: Store, results: str, photo: StoredObject, sha256: str, error: str) -> None:
    """Write why a photo could not be inspected. The next run tries the photo again."""
    write_record(store, _key(results, photo), StoredResult(photo.key, sha256, error, "", {}))


def fetch_result(store: Store, results: str, result: StoredResult, folder: Path) -> None:
    """Download the files of a photo's result into a folder. The table of tiles is not downloaded.

    Raises:
        InputError: A file is missing or damaged.
    """
    needed = {name: sha256 for name, sha256 in result.files.items() if not name.startswith(f"{TILES}/")}
    try:
        store.get_folder(results, folder, needed)
    except (MissingObjectError, DamagedObjectError) as error:
        raise InputError(
            f"the result of {result.photo} is damaged: {error}; delete {store.uri}/{results}/{FINISHED} and start the "
            "inspection again"
        ) from error


def _key(results: str, photo: StoredObject) -> str:
    return f"{results}/{FINISHED}/{digest(photo.key, photo.size, photo.tag, photo.changed.isoformat())[:32]}.json"
