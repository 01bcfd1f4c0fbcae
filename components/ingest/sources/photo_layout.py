"""Recognise the layout `photos`: whole photos with masks of their cracks, or with annotations."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from components.ingest.sources.file_table import folder_of, name_of
from components.ingest.sources.masks import folder_around_masks, masks_beside_images, stem
from components.ingest.sources.roboflow import is_split_folder
from components.shared.data.annotations.reading import SUFFIXES
from components.shared.data.annotations.yolo import NAMES_FILES
from components.shared.data.folder_listing import files_below, files_in, subfolders
from components.shared.data.image_kinds import in_mask_folder, is_image, is_mask_folder
from components.shared.errors import InputError

LABELS = "labels"  # YOLO's folder of label files
LABEL_LINE = re.compile(rb"\s*\d+(\s+[-+.\deE]+){4,}\s*")
LONGEST_LINE = 2**20  # bytes


def photos_below(root: Path) -> list[str]:
    """Return the images of a folder and its subfolders, in order, without the images in a folder of masks."""
    return sorted(path for path in _files_below(root) if is_image(path) and not in_mask_folder(path))


def masks_below(root: Path) -> list[str]:
    """Return the images that are in a folder of masks, in order."""
    return sorted(path for path in _files_below(root) if is_image(path) and in_mask_folder(path))


def annotation_files(root: Path) -> list[str]:
    """Return the files that can hold the annotations of many photos, in order.

    They are in the folder of the photos, or in a folder of a split, such as `train`.
    """
    names = [path for folder in _annotated_folders(root) for path in files_in(root, folder)]
    return [path for path in names if path.lower().endswith(SUFFIXES) and not name_of(path).startswith(".")]


def label_files(root: Path, photos: list[str]) -> list[str]:
    """Return YOLO's label files, in order. They are in a folder `labels`, or beside a photo with the same name."""
    known = {(folder_of(photo), stem(photo)) for photo in photos}
    found = []
    for path in _files_below(root):
        if not path.lower().endswith(".txt") or name_of(path).lower() in NAMES_FILES:
            continue
        in_labels = LABELS in folder_of(path).lower().split("/")
        beside = (folder_of(path), stem(path)) in known and _begins_as_labels(root / path)
        if in_labels or beside:
            found.append(path)
    return sorted(found)


def names_file(root: Path) -> str | None:
    """Return YOLO's file of class names; None if there is none.

    Raises:
        InputError: There are several such files.
    """
    found = sorted(path for path in _files_below(root) if name_of(path).lower() in NAMES_FILES)
    if len(found) > 1:
        raise InputError(f"{root} has several files that list the classes: {', '.join(found)}; keep one of them")
    return found[0] if found else None


def is_photo_folder(root: Path) -> bool:
    """Return true if a folder has images, and masks or annotations for them."""
    images = photos_below(root)
    if not images:
        return False
    return _has_masks(root, images) or bool(annotation_files(root)) or bool(label_files(root, images))


def joined_by_masks(source: Path, roots: list[Path]) -> Path | None:
    """Return the innermost folder that contains all folders of photos (`roots`) and all masks of the source.

    Return None if one of the folders of photos has no masks.
    """
    if not all(_has_masks(root, photos_below(root)) for root in roots):
        return None
    around_masks = [source / folder_around_masks(mask) for mask in masks_below(source)]
    return Path(os.path.commonpath([*roots, *around_masks]))


def _has_masks(root: Path, images: list[str]) -> bool:
    inner = [name for folder in _annotated_folders(root) for name in subfolders(root / folder)]
    return any(map(is_mask_folder, inner)) or bool(masks_beside_images(images))


def _annotated_folders(root: Path) -> list[str]:
    return ["", *filter(is_split_folder, subfolders(root))]


def _files_below(root: Path) -> Iterator[str]:
    yield from files_in(root, "")
    for name in subfolders(root):
        yield from files_below(root, name)


def _begins_as_labels(path: Path) -> bool:
    """Return true if a file is empty, or if its first line has the form of a line in YOLO's label files."""
    try:
        with open(path, "rb") as file:
            line = file.readline(LONGEST_LINE)
    except OSError:  # the file is read again later, and the error is reported then
        return True
    return not line.strip() or LABEL_LINE.fullmatch(line) is not None
