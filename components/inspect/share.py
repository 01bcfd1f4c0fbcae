"""Inspect one share (part) of the photos on a cluster, one photo after another.

The code is the same as for the command `inspect`.
"""

import tempfile
from pathlib import Path, PurePosixPath

from components.inspect.config import InspectConfig
from components.inspect.plan import Plan, read_plan
from components.inspect.record import LONGEST_NAME
from components.inspect.run import inspect_photos
from components.inspect.stored_result import store_failure, store_result, stored_result
from components.inspect.tile_answers import Model, read_model
from components.shared.events import inform, progress
from components.shared.hashing import bytes_digest
from components.shared.services.foreign import ForeignObjects
from components.shared.services.s3_failures import DamagedObjectError, MissingObjectError
from components.shared.services.store import Store, StoredObject
from components.shared.services.version_files import version_files


def inspect_share(plan_path: str, share: int, config: InspectConfig) -> None:
    """Inspect one share (part) of the planned photos. Skip photos that an earlier run has inspected
    without an error.

    A photo that cannot be read gets a record with the reason.

    Args:
        plan_path: File of the plan, JSON.
        share: Number of the share, from 1 to `config.shares`.
        config: The store and the settings of the inspection.

    Raises:
        InputError: The model version or the store cannot be read, or a result cannot be written.
    """
    plan = read_plan(plan_path)
    store = Store(config.store)
    photos = plan.share(share, config.shares)
    waiting = [photo for photo in photos if _needs_inspection(store, plan, photo)]
    finished = len(photos) - len(waiting)
    if finished:
        inform(f"{finished:,} of the {len(photos):,} photos of share {share} are finished already")
    if not waiting:
        return

    with version_files(config.model_name, plan.version) as files:
        model = read_model(config.model_name, plan.version, files)

    reader = ForeignObjects(Store(plan.photos_uri))
    for done, photo in enumerate(waiting, start=finished + 1):
        _inspect(photo, plan, model, config, store, reader)
        progress(done, len(photos), "inspecting photos")
    reader.check()


def _needs_inspection(store: Store, plan: Plan, photo: StoredObject) -> bool:
    result = stored_result(store, plan.results, photo)
    return result is None or bool(result.error)


def _inspect(
    photo: StoredObject, plan: Plan, model: Model, config: InspectConfig, store: Store, reader: ForeignObjects
) -> None:
    """Inspect a photo in a temporary folder, so that the pod's disk holds the files of one photo at a time."""
    try:
        data = reader.read(photo)
    except (MissingObjectError, DamagedObjectError) as error:
        store_failure(store, plan.results, photo, "", str(error))
        return

    sha256 = bytes_digest(data)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "results"
        local = Path(scratch) / _file_name(photo.key)
        local.write_bytes(data)
        del data  # `inspect_photos` reads the file, and keeps only a part of a large TIFF file in memory

        (inspected,) = inspect_photos([local], model, config, folder, lambda _: None)
        if inspected.record is None:
            reason = inspected.error.replace(str(local), photo.key)
            store_failure(store, plan.results, photo, sha256, reason)
        else:
            store_result(store, plan.results, photo, local, sha256, inspected.record, folder)


def _file_name(key: str) -> str:
    """Return the name of a photo's file on this machine. Names in S3 can be too long for a file system."""
    name = PurePosixPath(key)
    return f"{name.stem[:LONGEST_NAME]}{name.suffix}"
