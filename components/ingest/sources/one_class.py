"""Read a folder whose images all have the same class, as the option `all` of a source says."""

from pathlib import Path

import pandas as pd

from components.ingest.sources.file_table import folder_of
from components.ingest.sources.layouts import PHOTOS, SDNET2018_FOLDERS, UNKNOWN_SURFACE, ClassFolder, Layout
from components.ingest.sources.masks import masks_beside_images
from components.ingest.sources.photo_layout import annotation_files, label_files, masks_below, photos_below
from components.ingest.sources.photo_marks import Marks
from components.shared.data.annotations.shapes import ImageAnnotation
from components.shared.data.class_names import class_of_folder, simple_name
from components.shared.data.folder_listing import contents
from components.shared.data.manifest import CLASSES, CRACK, NO_CRACK
from components.shared.errors import InputError

ONE_CLASS = "one class"


def one_class_layout(folder: Path, class_name: str, whole_photos: bool) -> Layout:
    """Return the layout of a folder whose images all have the same class.

    Args:
        folder: The source.
        class_name: crack or no_crack.
        whole_photos: True if the images are photos that must be cut into tiles. False if they are tiles.

    Raises:
        InputError: The folder has no images, or it also has class folders, masks or files of annotations. Or the images
            are whole photos of the class crack.
    """
    label = CLASSES.index(class_name)
    if whole_photos and label == CRACK:
        raise InputError(
            f"{folder} has whole photos and the option all={class_name}, but most tiles of a photo have no crack; give "
            "a folder of tiles, or mark the cracks with masks or annotations and remove the option"
        )

    images = photos_below(folder)
    if not images:
        raise InputError(
            f"{folder} has the option all={class_name}, but no images. Found: {contents(folder)}. Check the path"
        )

    other = _other_sign_of_class(folder, images)
    if other is not None:
        raise InputError(
            f"{folder} has the option all={class_name}, but also {other}; remove the option, or give a folder that has "
            "only images"
        )
    folders = [] if whole_photos else [ClassFolder("", label, UNKNOWN_SURFACE, class_name)]
    return Layout(PHOTOS if whole_photos else ONE_CLASS, folder, folders)


def warn_of_unknown_photos(layout: Layout, files: pd.DataFrame) -> list[str]:
    """Return a warning if a source has only tiles without a crack, and the photos of some tiles are not known.

    Args:
        layout: The layout of the source.
        files: Table with the columns of `file_table.FILE_TYPES`.
    """
    unknown = int(files["photo"].isna().sum())
    if layout.name != ONE_CLASS or files["label"].eq(CRACK).any() or not unknown:
        return []
    return [
        f"the photos of {unknown} of {len(files)} tiles are not known, so false alarms per photo cannot be measured; "
        "name the photos with the option group_pattern"
    ]


def photos_without_cracks(root: Path) -> Marks:
    """Return `Marks` for photos without cracks: each photo below `root` has an annotation without shapes."""
    photos = photos_below(root)
    marks = Marks(root, photos, form=f"the option all={CLASSES[NO_CRACK]}")
    for photo in photos:
        marks.files[photo] = ()
        marks.annotations[photo] = ImageAnnotation(photo, width=None, height=None)
    return marks


def _other_sign_of_class(folder: Path, images: list[str]) -> str | None:
    """Return a text that names a class folder, a mask or a file of annotations; None if there is none."""
    for path in images:
        for name in folder_of(path).split("/"):
            if class_of_folder(name) is not None or simple_name(name) in SDNET2018_FOLDERS:
                return f"the class folder {name}"

    masks = [*masks_beside_images(images), *masks_below(folder)]
    if masks:
        return f"the mask {masks[0]}"
    files = [*annotation_files(folder), *label_files(folder, images)]
    return f"the file {files[0]}, which can give images a class" if files else None
