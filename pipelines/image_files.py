"""Find the image files that a user names by paths, folders and patterns."""

import glob
import os
from pathlib import Path

from components.shared.data.folder_listing import everything_below, is_listable
from components.shared.data.image_kinds import SUFFIXES, is_image, passed_over
from components.shared.errors import InputError
from components.shared.events import warn


def find_images(paths: list[str]) -> list[Path]:
    """Return the files that the paths name, in the order of the paths. Each file appears once.

    A path can be a file, a folder or a pattern such as "photos/*.jpg". A folder means all image files in it and in its
    subfolders. If a folder contains other files too, they are skipped with a warning. A pattern means files, so folders
    that match it are skipped.

    Paths that cannot be listed or read are returned too: a folder that cannot be listed, a link to a folder, a broken
    link, a pipe, a socket or a device. The code that reads the images then reports these paths.

    Raises:
        InputError: A path matches no file, or a folder has no image file.
    """
    images: dict[Path, None] = {}
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            found = _images_below(path)
            problem = f"folder {given} has no image file; give a folder with files that end with {', '.join(SUFFIXES)}"
        else:
            # If a file has this name, the name is not a pattern.
            found = [path] if os.path.lexists(path) else _matches(str(path))
            problem = f"{given} matches no file; give image files, folders or patterns in quotes"

        if not found:
            raise InputError(problem)
        images |= dict.fromkeys(found)
    return list(images)


def _images_below(folder: Path) -> list[Path]:
    found = list(everything_below(folder))
    skipped = passed_over(one.path for one in found if not one.problem)
    if skipped:
        warn(f"{folder}: {skipped}")
    return [folder / one.path for one in sorted(found) if one.problem or is_image(one.path)]


def _matches(pattern: str) -> list[Path]:
    """Return the files that match a pattern. Also return the folders that the search could not list."""
    matches = [path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)]

    # glob skips a folder that cannot be listed.
    parts = Path(pattern).parts
    for number, part in enumerate(parts):
        if glob.escape(part) != part:
            outer = parts[: number + 1] if part == "**" else parts[:number]
            searched = glob.glob(os.path.join("", *outer, ""), recursive=True)
            matches += [folder for folder in searched if not is_listable(folder)]
    return [Path(path) for path in sorted(matches)]
