"""Join the results of all shares into tables, a map and a page. The command `inspect` uses the same code."""

import json
import shutil
import tempfile
from pathlib import Path

from components.inspect.config import InspectConfig
from components.inspect.page import PAGE
from components.inspect.plan import Plan, read_plan
from components.inspect.record import InspectedPhoto, load_record
from components.inspect.run import write_results
from components.inspect.stored_result import StoredResult, fetch_result, stored_result
from components.inspect.summary import records_of, summary
from components.inspect.tables import TABLES
from components.inspect.tile_answers import read_model
from components.shared.errors import InputError
from components.shared.events import inform, progress
from components.shared.services.store import Store
from components.shared.services.version_files import version_files


def join_shares(plan_path: str, config: InspectConfig, page_path: str, summary_path: str) -> None:
    """Write the tables, the map and the page about all photos of a plan, and upload them to the results' prefix.

    Args:
        plan_path: File of the plan, JSON.
        config: The store and the settings of the inspection.
        page_path: File to write, HTML.
        summary_path: File to write: JSON with `results` (s3:// prefix), `photos`, `inspected`, `failed`, `findings`,
            and the `version` of the model.

    Raises:
        InputError: A photo has no result, or its files in the store are damaged.
    """
    plan = read_plan(plan_path)
    store = Store(config.store)
    with version_files(config.model_name, plan.version) as files:
        model = read_model(config.model_name, plan.version, files)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        photos = _fetch_photos(plan, store, folder)
        write_results(photos, model, config, folder)
        store.put_files({f"{plan.results}/{name}": folder / name for name in (*TABLES, PAGE)})
        shutil.copyfile(folder / PAGE, page_path)

    place = f"{config.store}/{plan.results}"
    inform(f"{summary(photos)}; the results are in {place}")
    Path(summary_path).write_text(json.dumps(_numbers(photos, plan, place), indent=2), encoding="utf-8")


def _fetch_photos(plan: Plan, store: Store, folder: Path) -> list[InspectedPhoto]:
    """Return the results of the photos in the order of the plan.

    If two photos have the same content, the result of the second photo names the first photo.
    """
    photos: list[InspectedPhoto] = []
    first_names: dict[str, str] = {}
    for done, photo in enumerate(plan.photos, start=1):
        result = stored_result(store, plan.results, photo)
        if result is None:
            raise InputError(
                f"the photo {plan.photos_uri}/{photo.key} has no result in {store.uri}/{plan.results}; start the "
                "inspection again. The new run skips the photos that have a result"
            )
        first_name = first_names.setdefault(result.photo_sha256, photo.key) if result.photo_sha256 else photo.key
        photos.append(_inspected(result, first_name, plan, store, folder))
        progress(done, len(plan.photos), "fetching results")
    return photos


def _inspected(result: StoredResult, first_name: str, plan: Plan, store: Store, folder: Path) -> InspectedPhoto:
    path = Path(result.photo)
    if first_name != result.photo:
        return InspectedPhoto(path, same_as=first_name)
    if result.error:
        return InspectedPhoto(path, error=result.error)

    fetch_result(store, plan.results, result, folder)
    return InspectedPhoto(path, load_record(folder / result.record))


def _numbers(photos: list[InspectedPhoto], plan: Plan, place: str) -> dict[str, str | int]:
    records = records_of(photos)
    return {
        "results": place,
        "photos": len(photos),
        "inspected": len(records),
        "failed": sum(bool(photo.error) for photo in photos),
        "findings": sum(len(record.findings) for record in records),
        "version": plan.version,
    }
