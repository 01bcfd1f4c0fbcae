"""Read the data set's images again, from their files or from the store, and pack the new images into shards."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from components.ingest.earlier_versions import PLACE_TYPES
from components.ingest.mask_check import turned_mask
from components.ingest.sources.open_sources import Source
from components.ingest.text_lookup import look_up
from components.shared.data.image import UPRIGHT, ImageError
from components.shared.data.manifest import plain
from components.shared.data.shards import Member
from components.shared.data.versions import put_images, read_images
from components.shared.errors import InputError
from components.shared.events import progress
from components.shared.services.store import Store

IMAGES_PER_MESSAGE = 1000


def with_known_places(images: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """Add columns with the place of each image in the store.

    We know the place if an earlier data set version has the image with the same mask. For all other images, the new
    columns have missing values.

    Args:
        images: Columns sample_id and mask_id, and any other columns.
        places: The places of images in earlier data set versions: columns of `PLACE_TYPES`.
    """
    found = look_up(images["sample_id"], places, "sample_id")
    same_mask = images["mask_id"].fillna("") == found["mask_id"].fillna("")
    return images.join(found.drop(columns=["sample_id", "mask_id"])[same_mask])


def pack(
    store: Store, sources: list[Source], images: pd.DataFrame, folder: Path
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Pack images into shards and upload the shards.

    Args:
        store: Storage root.
        sources: The sources of the images.
        images: The images to pack: the columns of `grouping.Selection.images`.
        folder: Local folder for shards that are not uploaded yet.

    Returns:
        First, a table with the place of each image in the store; it has the index of `images`. Second, a dict: name of
        each shard -> its size in bytes.

    Raises:
        InputError: A file was changed or removed after it was examined.
    """
    places, shards = put_images(store, _members(images, sources), folder)
    progress(len(images), len(images), "packing and storing")
    table = pd.DataFrame(map(vars, places), images.index, list(PLACE_TYPES))
    return table.astype(PLACE_TYPES), shards


def _members(images: pd.DataFrame, sources: list[Source]) -> Iterator[Member]:
    files = SourceFiles(sources)
    columns = ["source", "path", "sample_id", "suffix", "mask", "mask_id", "mask_suffix", "mask_turn"]
    rows = zip(*(plain(images[name]) for name in columns), strict=True)
    for number, (source, path, sample_id, suffix, mask, mask_id, mask_suffix, turn) in enumerate(rows):
        if number % IMAGES_PER_MESSAGE == 0:
            progress(number, len(images), "packing and storing")

        image = files.read(source, path, sample_id)
        if mask is None:
            yield Member(sample_id, image, suffix)
        else:
            mask_data = files.read(source, mask, mask_id, turn)
            yield Member(sample_id, image, suffix, mask_data, mask_suffix)


class SourceFiles:
    """A reader of source files that were examined before. It refuses files that have changed since."""

    def __init__(self, sources: list[Source]):
        self._folders = {source.name: source.folder for source in sources}

    def read(self, source: str, path: str, digest: str, mask_turn: int = UPRIGHT) -> bytes:
        """Read the content of a file. If it is a mask, turn it as `mask_turn` says.

        Args:
            source: Name of the file's source.
            path: The file's path in the source.
            digest: The sha256 that the result must have. It was computed when the file was examined.
            mask_turn: The EXIF orientation that says how to turn a mask.

        Raises:
            InputError: The file's sha256 has changed, or the file does not exist any more.
        """
        file = self._folders[source] / path
        try:
            data = file.read_bytes()
            if mask_turn != UPRIGHT:
                data = turned_mask(data, mask_turn)
        except (FileNotFoundError, ImageError):
            data = b""

        if hashlib.sha256(data).hexdigest() != digest:
            raise InputError(
                f"{file} was changed or removed during the ingestion; run the ingestion again, and do not change the "
                "folder in the meantime"
            )
        return data


class ImageReader:
    """A reader of the data set's images. It reads from the store if a file is missing or was changed."""

    def __init__(self, store: Store, sources: list[Source], images: pd.DataFrame):
        """Create a reader.

        Args:
            store: Storage root.
            sources: The sources of the images.
            images: Table from `with_known_places`. It has the place of each image that is in the store.
        """
        self._store = store
        self._files = SourceFiles(sources)
        self._images = images[["source", "path", "sample_id", "shard", "offset", "size"]]

    def read(self, index: int) -> bytes:
        """Read the content of an image file, given the image's index.

        Raises:
            InputError: The file was changed or removed after it was examined, and the store does not have it.
        """
        image = self._images.loc[index]
        try:
            return self._files.read(image["source"], image["path"], image["sample_id"])
        except (OSError, InputError):
            if pd.isna(image["shard"]):
                raise
        (stored,) = read_images(self._store, self._images.loc[[index]])
        return stored
