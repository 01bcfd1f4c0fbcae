"""Find the photo that an annotation names.

Programs change the names of photos. They add folders, drop the suffix, put photos into a folder `images` and label
files into a folder `labels`, or write an accented letter as two characters. Label Studio puts eight hexadecimal digits
and a hyphen before the name of an uploaded file, writes spaces as underscores, and drops characters such as `+`.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from components.shared.data.image_kinds import is_image

# YOLO puts a photo and its label file into these two folders. So their names are ignored when we compare paths.
FOLDERS = ("images", "labels")
UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")


class PhotoNames:
    """Finds the photos of a folder by the names that programs write into annotations."""

    def __init__(self, photos: list[str]):
        """Prepare the search. `photos` are the paths of the photos, relative to the folder."""
        self._photos: dict[str, set[str]] = defaultdict(set)
        self._uploads: dict[str, set[str]] = defaultdict(set)
        for photo in photos:
            for name in _tails(photo):
                self._photos[name].add(photo)
                self._photos[_without_suffix(name)].add(photo)
            name = PurePosixPath(photo).name
            for upload in {_uploaded(name), _uploaded(_without_suffix(name))}:
                self._uploads[upload].add(photo)

    def find(self, name: str) -> str | None:
        """Return the photo that an annotation names; None if no photo fits, or if several photos fit.

        We compare the whole path first. Then we leave out the first folder, then the first two folders, and so on,
        until the rest of the path fits exactly one photo. Last, we compare names as Label Studio writes them.

        Args:
            name: The name of the photo as the annotation gives it. It can be a path.
        """
        for tail in _tails(name.replace("\\", "/").removeprefix("./")):
            for wanted in (tail, _without_suffix(tail)):
                if len(self._photos.get(wanted, ())) == 1:
                    return next(iter(self._photos[wanted]))

        file = PurePosixPath(name.replace("\\", "/")).name
        own, prefixes = UPLOAD_PREFIX.subn("", file, count=1)
        if not prefixes:
            return None
        for wanted in (_uploaded(own), _uploaded(_without_suffix(own))):
            if len(self._uploads.get(wanted, ())) == 1:
                return next(iter(self._uploads[wanted]))
        return None


def _tails(path: str) -> Iterator[str]:
    """Yield a path, then the path without its first folder, and so on.

    After each of these, yield the same path without the folders that have a name in `FOLDERS`.
    """
    parts = unicodedata.normalize("NFC", path).split("/")
    for start in range(len(parts)):
        own = parts[start:]
        yield "/".join(own)
        yield "/".join([part for part in own[:-1] if part.lower() not in FOLDERS] + own[-1:])


def _without_suffix(path: str) -> str:
    return str(PurePosixPath(path).with_suffix("")) if is_image(path) else path


def _uploaded(name: str) -> str:
    """Return the name that Label Studio gives to an uploaded file. It uses Django's `get_valid_filename`."""
    return re.sub(r"[^-\w.]", "", unicodedata.normalize("NFC", name).strip().replace(" ", "_"))
