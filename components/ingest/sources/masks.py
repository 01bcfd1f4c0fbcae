"""Find the image that each mask belongs to, by folder and name.

A mask is either in a folder of masks, or beside its image under a name such as `IMG_1_mask.png`. The names of mask
and image are equal, apart from their suffixes and from an ending such as `_mask` or `-label`. An accented letter can be
written as one character or as two. A mask in the folder of masks can be in one of these places:

- in a folder with the same path as the image's folder has below its class folder: `masks/pier1/IMG_1.png` belongs to
  `crack/pier1/IMG_1.jpg`;
- in a folder with the whole path of the image's folder: `masks/crack/pier1/IMG_1.png` belongs to the same image;
- directly in the folder of masks, as `masks/IMG_1.png`, if only one image has this name.

A mask marks a crack. So if a mask fits a cracked image and an uncracked image, the mask belongs to the cracked image.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from components.ingest.sources.file_table import folder_of, name_of
from components.shared.data.manifest import CRACK
from components.shared.errors import InputError

NAME_OF_MASK = re.compile(r"(.+)[-_. ](?:masks?|labels?|gt|seg|segmentation|annotation)", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """An image that can have a mask: its path, its folder below its class folder, and its label."""

    path: str
    inner_folder: str
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


def match_masks(images: Sequence[Candidate], masks: Sequence[tuple[str, str]]) -> Masks:
    """Find the image of each mask.

    Args:
        images: The images that can have a mask.
        masks: The path of each mask, and its folder below the folder of masks.

    Raises:
        InputError: An image has two masks.
    """
    by_folder: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    by_name: dict[str, list[Candidate]] = defaultdict(list)
    for image in images:
        name = stem(image.path)
        for folder in {_composed(image.inner_folder), _composed(folder_of(image.path))}:
            by_folder[folder, name].append(image)
        by_name[name].append(image)

    found = Masks()
    for path, folder in masks:
        fitting: list[Candidate] = []
        for name in _names_of_image(path):
            fitting = fitting or by_folder.get((_composed(folder), name), [])
            if not folder:
                fitting = fitting or by_name.get(name, [])
        _add(found, path, fitting)
    return found


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
    """Give the mask to the only image that fits. If several images fit, give it to the only one with a crack."""
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
