"""Find the image that each mask belongs to, by folder and name.

A mask is either in a folder of masks, or beside its image under a name such as `IMG_1_mask.png`. The names of mask
and image are equal, apart from their suffixes and from an ending such as `_mask` or `-label`. An accented letter can be
written as one character or as two.

A folder of masks belongs to the folder that contains it, and to nothing outside. So `crack/masks/a.png` can only belong
to an image in `crack`. Inside the folder of masks, a mask can be in one of these places:

- in the same subfolder that the image has in its class folder: `masks/pier1/IMG_1.png` belongs to
  `crack/pier1/IMG_1.jpg`;
- in the same folders as the image. The first folders or the class folder can be left out:
  `masks/deck/crack/IMG_1.png`, `masks/crack/IMG_1.png` and `masks/deck/IMG_1.png` belong to `deck/crack/IMG_1.jpg`;
- directly in the folder of masks, as `masks/IMG_1.png`, if only one image has this name.

Folders with the name `images` are left out of these paths: `crack/masks/a.png` belongs to `crack/images/a.jpg`.

A mask marks a crack. So if a mask fits a cracked image and an uncracked image, the mask belongs to the cracked image.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from components.ingest.sources.file_table import folder_of, folders_around, name_of
from components.shared.data.image_kinds import is_mask_folder
from components.shared.data.manifest import CRACK
from components.shared.errors import InputError

NAME_OF_MASK = re.compile(r"(.+)[-_. ](?:masks?|labels?|gt|seg|segmentation|annotation)", re.IGNORECASE)

IMAGE_FOLDERS = ("image", "images")


@dataclass(frozen=True)
class Candidate:
    """An image that can have a mask: its path, its class folder, and its label."""

    path: str
    class_folder: str
    label: int


@dataclass
class Masks:
    """The masks that were found.

    Attributes:
        of_image: Path of an image -> path of its mask.
        without_image: The masks that belong to no image.
        ambiguous: The masks that fit several images, and therefore are not used.
    """

    of_image: dict[str, str] = field(default_factory=dict)
    without_image: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)


def match_masks(images: Sequence[Candidate], masks: Sequence[str]) -> Masks:
    """Find the image of each mask. `masks` are the paths of the masks, relative to the same folder as the images.

    Raises:
        InputError: An image has two masks.
    """
    outer_folders = {_place(mask)[0] for mask in masks}
    by_folder: dict[tuple[str, str, str], list[Candidate]] = defaultdict(list)
    by_name: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for image in images:
        name = stem(image.path)
        for outer in outer_folders.intersection(folders_around(image.path)):
            by_name[outer, name].append(image)
            for folder in _folders_of_mask(image, outer):
                by_folder[outer, folder, name].append(image)

    found = Masks()
    for mask in masks:
        outer, folder = _place(mask)
        fitting: list[Candidate] = []
        for name in _names_of_image(mask):
            fitting = fitting or by_folder.get((outer, _simple(folder), name), [])
            if not folder:
                fitting = fitting or by_name.get((outer, name), [])
        _add(found, mask, fitting)
    return found


def _place(mask: str) -> tuple[str, str]:
    """Return the folder that contains the folder of masks, and the mask's subfolder in the folder of masks.

    For example, `deck/masks/pier1/a.png` gives `deck` and `pier1`. If a mask is beside its image, return the folder of
    both files, and "".
    """
    folders = folder_of(mask).split("/")
    for number, name in enumerate(folders):
        if is_mask_folder(name):
            return "/".join(folders[:number]), "/".join(folders[number + 1 :])
    return folder_of(mask), ""


def folder_around_masks(mask: str) -> str:
    """Return the folder that contains the mask's folder of masks. For a mask beside its image, return their folder."""
    return _place(mask)[0]


def _folders_of_mask(image: Candidate, outer: str) -> set[str]:
    """Return the folders in which an image's mask can be. The paths are relative to a folder of masks.

    `outer` is the folder that contains both the image and the folder of masks.
    """
    whole = folder_of(image.path)
    if len(outer) >= len(image.class_folder):
        return {_simple(whole[len(outer) :])}

    below_class = whole[len(image.class_folder) :]
    class_name = name_of(image.class_folder)
    above_class = folder_of(image.class_folder)[len(outer) :].split("/")
    places = set()
    for start in range(len(above_class) + 1):
        above = "/".join(above_class[start:])
        places |= {_simple(f"{above}/{class_name}{below_class}"), _simple(above + below_class)}
    return places


def _simple(folder: str) -> str:
    """Return a path with each accented letter as one character, and without folders that are named `images`."""
    parts = [part for part in _composed(folder).split("/") if part and part.casefold() not in IMAGE_FOLDERS]
    return "/".join(parts)


def masks_beside_images(paths: Sequence[str]) -> list[str]:
    """Return the files that are masks of other files in the same folder, such as `a_mask.png` beside `a.jpg`."""
    known = {(folder_of(path), stem(path)) for path in paths}
    masks = []
    for path in paths:
        _, *shorter = _names_of_image(path)
        if any((folder_of(path), name) in known for name in shorter):
            masks.append(path)
    return masks


def stem(path: str) -> str:
    """Return a file's name without its suffix, with each accented letter as one character."""
    return _composed(os.path.splitext(name_of(path))[0])


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _names_of_image(mask: str) -> list[str]:
    """Return the possible stems of a mask's image: the mask's stem, and this stem without an ending such as `_mask`."""
    name = stem(mask)
    match = NAME_OF_MASK.fullmatch(name)
    return [name, match[1]] if match else [name]


def _add(found: Masks, mask: str, fitting: list[Candidate]) -> None:
    """Give the mask to the image that fits. If several images fit, prefer images with a crack.

    If more than one image is still left, the mask is ambiguous.
    """
    if len(fitting) > 1:
        fitting = [image for image in fitting if image.label == CRACK] or fitting
    if len(fitting) > 1:
        found.ambiguous.append(mask)
    elif not fitting:
        found.without_image.append(mask)
    else:
        image = fitting[0].path
        other = found.of_image.setdefault(image, mask)
        if other != mask:
            raise InputError(f"the image {image} has two masks: {other} and {mask}; keep only one of them")
