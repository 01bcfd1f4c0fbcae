"""Recognise the layout `photos`: whole photos with masks of their cracks, or with one file of annotations."""

from pathlib import Path

from components.ingest.sources.folder_listing import files_below, files_in, subfolders
from components.ingest.sources.masks import masks_beside_images
from components.shared.data.image_kinds import is_image, is_mask_folder

ANNOTATION_SUFFIXES = (".json", ".xml")


def photos_below(root: Path) -> list[str]:
    """Return the images of a folder and its subfolders, in order, without those in a folder of masks."""
    found = list(files_in(root, ""))
    for name in subfolders(root):
        if not is_mask_folder(name):
            found += files_below(root, name)
    return sorted(filter(is_image, found))


def annotation_files(root: Path) -> list[str]:
    """Return the files in a folder that can be annotations, in order."""
    return [name for name in files_in(root, "") if name.lower().endswith(ANNOTATION_SUFFIXES)]


def is_photo_folder(root: Path) -> bool:
    """Return true if a folder has images, and masks or a file of annotations for them."""
    images = photos_below(root)
    if not images:
        return False
    has_masks = any(map(is_mask_folder, subfolders(root)))
    return has_masks or bool(annotation_files(root)) or bool(masks_beside_images(images))
