"""Plan an inspection on a cluster: list the photos once, and choose the model version once.

Each pod inspects one share (part) of the photos. All pods use the same list and the same model version, even if photos
are uploaded or a version is promoted during the run. This module must not import PyTorch, because the CPU container
image does not contain PyTorch.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from components.inspect.config import FORMAT, InspectConfig
from components.shared.data.image_kinds import SUFFIXES, is_image, masks_among, passed_over
from components.shared.errors import InputError
from components.shared.events import inform, warn
from components.shared.hashing import digest
from components.shared.services import mlflow_runs
from components.shared.services.days import fill_in_days, has_other_days
from components.shared.services.store import Store, StoredObject

RESULTS = "inspections"  # folder in the store
SCHEME = "s3://"


@dataclass(frozen=True)
class Plan:
    """The photos and the model version of an inspection. All pods of the inspection read the same plan.

    Attributes:
        photos_uri: The prefix of the photos, s3://BUCKET/PREFIX, with dates in place of {date} and {yesterday}.
        version: The number of the model version.
        results: Prefix of the results in the store. It depends on `photos_uri`, on the model version and on the
            settings.
        photos: The photos, in the order of their keys. A key is relative to `photos_uri`.
    """

    photos_uri: str
    version: str
    results: str
    photos: tuple[StoredObject, ...]

    def share(self, number: int, shares: int) -> tuple[StoredObject, ...]:
        """Return the photos of one share. The shares have the numbers 1 to `shares`.

        The sizes of the shares differ by at most one photo.
        """
        return self.photos[number - 1 :: shares]


def plan_inspection(uri: str, config: InspectConfig, path: str) -> None:
    """Write the plan of an inspection.

    Args:
        uri: s3:// prefix of the photos. The placeholders {date} and {yesterday} are replaced by dates in UTC.
        config: The store, the registered model's name, and the settings of the inspection.
        path: File to write, JSON.

    Raises:
        InputError: `uri` is not an s3:// prefix, there is no champion, or there is no photo. If `uri` contains {date}
            or {yesterday}, a day without photos is allowed. But the folder that contains the days must not be empty.
    """
    if not uri.startswith(SCHEME):
        raise InputError(f"photos is {uri!r}; write it as s3://BUCKET/PREFIX, and upload the photos there")

    version = mlflow_runs.version_by_alias(config.model_name, mlflow_runs.CHAMPION)
    if version is None:
        raise InputError(
            f"the model {config.model_name} has no champion, which an inspection needs; run crack-training, then "
            "promote the model version that it registers"
        )

    filled_in = fill_in_days(uri).rstrip("/")
    photos = _photos_under(filled_in, config.store)
    if not photos and not has_other_days(uri):
        raise InputError(
            f"there is no photo under {filled_in} or its subfolders; check the path; the name of a photo must end in "
            f"one of {', '.join(SUFFIXES)}"
        )

    settings = digest(FORMAT, config.identity())[:12]
    place = f"{RESULTS}/{filled_in.removeprefix(SCHEME)}/{config.model_name}-{version}-{settings}"
    inform(f"{len(photos):,} photos under {filled_in} are inspected; the results are in {config.store}/{place}")
    write_plan(Plan(filled_in, version, place, photos), path)


def _photos_under(uri: str, store_uri: str) -> tuple[StoredObject, ...]:
    """List the photos. Leave out masks, and leave out the results of inspections.

    A mask is a file in a folder `masks` next to a photo, with the same name as the photo.
    """
    source, store = Store(uri), Store(store_uri)
    objects = source.objects()
    if source.bucket == store.bucket:
        results = store.full_key(f"{RESULTS}/")
        objects = [one for one in objects if not source.full_key(one.key).startswith(results)]

    skipped = passed_over([one.key for one in objects])
    if skipped:
        warn(f"{uri}: {skipped}")

    images = [one for one in objects if is_image(one.key)]
    masks = masks_among([PurePosixPath(one.key) for one in images])
    if masks:
        warn(f"{len(masks):,} masks of photos are not inspected, for example {masks[0]}")
    left_out = set(masks)
    return tuple(one for one in images if PurePosixPath(one.key) not in left_out)


def write_plan(plan: Plan, path: str) -> None:
    """Write a plan as JSON."""
    content = asdict(plan)
    for photo in content["photos"]:
        photo["changed"] = photo["changed"].isoformat()
    Path(path).write_text(json.dumps(content), encoding="utf-8")


def read_plan(path: str) -> Plan:
    """Read a plan that `write_plan` wrote."""
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    photos = []
    for photo in content.pop("photos"):
        changed = datetime.fromisoformat(photo.pop("changed"))
        photos.append(StoredObject(**photo, changed=changed))
    return Plan(**content, photos=tuple(photos))
