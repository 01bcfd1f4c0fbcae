"""Name the kinds of image files that the project accepts. Ingest, predict and collect all use this list.

A search in a folder takes the files whose names end in one of the SUFFIXES. It skips all other files and all hidden
folders, and reports how many it skipped. If the user or a table gives the path of a file, the file can have any
name, because we read the format from the content.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath, PurePosixPath
from typing import TypeVar

# Pillow's name of each format -> the suffixes of its files. A stored file gets the first suffix. JPEG includes photos
# with several views (MPO).
KINDS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
FORMATS = tuple(KINDS)
SUFFIXES = tuple(suffix for suffixes in KINDS.values() for suffix in suffixes)
# Files that operating systems add to folders. We skip them and do not report them.
SYSTEM_FILES = (".ds_store", "thumbs.db", "desktop.ini")
RESOURCE_FORK = "._"
# Folders that programs add: previews of a network storage, resource forks of macOS, the recycle bin of Windows.
HIDDEN_FOLDERS = ("@eadir", "__macosx", "$recycle.bin")
KINDS_IN_MESSAGE = 5
MASK_FOLDERS = ("mask", "masks")

AnyPath = TypeVar("AnyPath", bound=PurePath)


def is_image(path: str) -> bool:
    """Return true if a file has the name of an image and is not hidden. The path uses slashes."""
    return path.lower().endswith(SUFFIXES) and not is_hidden(path)


def is_hidden(path: str) -> bool:
    """Return true if a file or a folder on the path is hidden, or belongs to the system."""
    return any(part.startswith(".") or part.lower() in HIDDEN_FOLDERS for part in path.split("/"))


def is_mask_folder(name: str) -> bool:
    """Return true if a folder with this name contains masks instead of images."""
    return name.casefold() in MASK_FOLDERS


def in_mask_folder(path: str) -> bool:
    """Return true if a file is in a folder of masks, or in a folder below one. The path uses slashes."""
    return any(map(is_mask_folder, path.split("/")[:-1]))


def masks_among(files: Sequence[AnyPath]) -> list[AnyPath]:
    """Return the files that are masks. A mask is in a folder `masks`, and this folder is next to the mask's photo.

    A mask and its photo have the same name, but the suffixes can differ: `masks/wall.png` is the mask of `wall.jpg`.
    """
    photos = {(file.parent, file.stem) for file in files}
    return [file for file in files if file.parent.name == "masks" and (file.parent.parent, file.stem) in photos]


def passed_over(paths: Iterable[str]) -> str:
    """Describe the files that a search skips, such as "3 files were skipped (2 .txt, 1 hidden); …".

    Args:
        paths: All files below the searched folder, relative to this folder, with slashes. Images and system files are
            not counted.

    Returns:
        Part of a sentence without a full stop. It is "" if the search skips no file.
    """
    kinds: Counter[str] = Counter()
    for path in paths:
        name = path.rpartition("/")[2]
        is_system_file = name.lower() in SYSTEM_FILES or name.startswith(RESOURCE_FORK)
        if not is_system_file and not is_image(path):
            kinds["hidden" if is_hidden(path) else PurePosixPath(name).suffix.lower() or "without a suffix"] += 1
    if not kinds:
        return ""

    shown = [f"{number} {kind}" for kind, number in kinds.most_common(KINDS_IN_MESSAGE)]
    if len(kinds) > KINDS_IN_MESSAGE:
        shown.append("…")
    files = "1 file was" if kinds.total() == 1 else f"{kinds.total()} files were"
    return f"{files} skipped ({', '.join(shown)}); the names of images end in {', '.join(SUFFIXES)}"
