"""Find production images in a folder or under a store's prefix, and read them one by one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from components.shared.data.folder_listing import files_below
from components.shared.data.image import ImageError, decode_filled
from components.shared.data.image_kinds import SUFFIXES, in_mask_folder, is_image, passed_over
from components.shared.data.scaling_note import scaling_note, used_bits_counts
from components.shared.errors import InputError
from components.shared.events import inform, warn
from components.shared.regular_file import reason
from components.shared.services.days import fill_in_days, has_other_days
from components.shared.services.foreign import ForeignObjects
from components.shared.services.store import THREADS, Store, StoredObject

# Files that wait for decoding need memory, so we read only a few files in advance.
FILES_READ_AHEAD = 16 * THREADS


def check_local_images(uri: str) -> None:
    """Raise the errors of `ProductionImages` that the names of the files in a local folder show, before a run starts.

    Args:
        uri: Folder or s3:// prefix, in which {date} and {yesterday} are replaced by dates in UTC.
    """
    if not uri.startswith("s3://"):
        names = files_below(Path(fill_in_days(uri)).expanduser())
        _require_images([name for name in names if is_image(name) and not in_mask_folder(name)], uri)


def _require_images(names: list[str], uri: str) -> None:
    """Raise InputError if there is no image, unless `uri` may name a day without images."""
    if not names and not has_other_days(uri):
        raise InputError(
            f"there is no image under {fill_in_days(uri)}; the name of an image must end in {', '.join(SUFFIXES)}, and "
            "the image may be in a subfolder; check the path"
        )


class ProductionImages:
    """The images in a folder or under an s3:// prefix.

    Attributes:
        uri: The folder or prefix, with dates in place of {date} and {yesterday}.
        names: Sorted paths of the images, relative to `uri`. If there are more than `sample` images, the list has
            `sample` paths, chosen at random. If `uri` names a day without images, the list is empty.
    """

    def __init__(self, uri: str, sample: int):
        """List the images.

        Args:
            uri: Folder or s3:// prefix. The placeholders {date} and {yesterday} are replaced by dates in UTC.
            sample: Largest number of images in `names`.

        Raises:
            InputError: The folder does not exist or contains no image. Or it contains a pipe, a folder that cannot be
                listed, or a link to a folder. If `uri` contains {date} or {yesterday}, a day without images is not an
                error. But the folder that contains the days must exist, and it must not be empty.
        """
        self.uri = fill_in_days(uri)
        self._objects: dict[str, StoredObject] = {}
        self._reader: ForeignObjects | None = None
        if self.uri.startswith("s3://"):
            store = Store(self.uri)
            self._objects = {one.key: one for one in store.objects()}
            self._reader = ForeignObjects(store)

        files = [name for name in self._list() if not in_mask_folder(name)]
        found = sorted(filter(is_image, files))
        skipped = passed_over(files)
        if skipped:
            warn(f"{self.uri}: {skipped}")
        _require_images(found, uri)
        chosen = np.random.default_rng(0).permutation(len(found))[:sample]
        self.names = [found[index] for index in np.sort(chosen)]

    def read(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (name, uint8 (H, W, 3) RGB) for every readable image.

        At the end, report how many images cannot be read, and how many images were scaled to 8 bits per channel.
        """
        refused = []
        used_bits = []
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(self.names), FILES_READ_AHEAD):
                names = self.names[start : start + FILES_READ_AHEAD]
                contents = [pool.submit(self._bytes, name) for name in names]
                for name, content in zip(names, contents, strict=True):
                    try:
                        decoded = decode_filled(content.result())
                    except ImageError as error:
                        refused.append(f"{name}: {error}")
                        continue
                    used_bits.append(decoded.used_bits)
                    yield name, decoded.pixels

        if self._reader:
            self._reader.check()
        scaled = used_bits_counts(used_bits)
        if scaled:
            inform(scaling_note("images", scaled))
        if refused:
            warn(
                f"{len(refused)} of {len(self.names)} images cannot be read and were skipped; the first is {refused[0]}"
            )

    def _list(self) -> list[str]:
        return list(self._objects if self._reader else files_below(Path(self.uri).expanduser()))

    def _bytes(self, name: str) -> bytes:
        if self._reader:
            return self._reader.read(self._objects[name])
        try:
            return (Path(self.uri).expanduser() / name).read_bytes()
        except OSError as error:  # such as a broken link
            raise ImageError(reason(error)) from error
