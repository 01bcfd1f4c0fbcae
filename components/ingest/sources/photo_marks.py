"""Find out what people marked on photos: by a mask for each photo, or by one file of annotations."""

import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from components.ingest.mask_check import MaskFitError, check_mask, turned_mask
from components.ingest.sources.file_table import folder_of, name_of
from components.ingest.sources.folder_listing import files_below, subfolders
from components.ingest.sources.masks import Candidate, masks_beside_images, match_masks, stem
from components.ingest.sources.photo_layout import annotation_files, photos_below
from components.shared.data.annotations.reading import read_annotations
from components.shared.data.annotations.shapes import ImageAnnotation, crack_mask, in_pixels, outside
from components.shared.data.image import UPRIGHT, ImageError, decode_mask
from components.shared.data.image_kinds import is_image, is_mask_folder
from components.shared.data.manifest import CLASSES, CRACK
from components.shared.errors import InputError


@dataclass(frozen=True)
class Marks:
    """What people marked on the photos of a folder.

    Attributes:
        root: The folder.
        photos: The photos, in order. Paths here and below are relative to the root.
        masks: The mask of each photo that has one.
        annotations: The annotation of each photo that has one; empty if there are masks.
        annotation_file: The file of the annotations; "" if there are masks.
        without_photo: The masks and annotations that belong to no photo, or that fit several photos.
    """

    root: Path
    photos: list[str]
    masks: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, ImageAnnotation] = field(default_factory=dict)
    annotation_file: str = ""
    without_photo: list[str] = field(default_factory=list)

    def file_of(self, photo: str) -> str | None:
        """Return the file that says what is marked on a photo; None if nobody has marked it."""
        if self.annotation_file:
            return self.annotation_file if photo in self.annotations else None
        return self.masks.get(photo)

    def is_exact(self, photo: str) -> bool:
        """Return true if what is marked is the crack itself, and not a box around it."""
        annotation = self.annotations.get(photo)
        return annotation is None or not any(shape.is_box for shape in annotation.shapes)

    def cracks(self, photo: str, data: bytes, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return the mask of the cracks of a photo.

        Args:
            photo: A photo for which `file_of` returns a file.
            data: The content of its file.
            image: uint8 (H, W, 3), the photo, upright.

        Returns:
            bool (H, W).

        Raises:
            ImageError: The mask or annotation cannot be used. The message says why.
        """
        if self.annotation_file:
            return self._annotated_cracks(self.annotations[photo], image)

        path = self.root / self.masks[photo]
        mask = path.read_bytes()
        try:
            turn = check_mask(path, mask, data, image).turn
            return decode_mask(mask if turn == UPRIGHT else turned_mask(mask, turn))
        except MaskFitError:
            raise
        except ImageError as error:
            raise ImageError(f"its mask {path.name}: {error}") from error

    def shapes_outside(self, photo: str, width: int, height: int) -> int:
        """Return how many shapes of a photo reach out of it. The size is that of the photo in pixels."""
        annotation = self.annotations.get(photo)
        if annotation is None:
            return 0
        return sum(outside(shape, width, height) for shape in in_pixels(annotation, width, height).shapes)

    def _annotated_cracks(self, annotation: ImageAnnotation, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        drawn = {shape.label for shape in annotation.shapes}
        if CLASSES[CRACK] in annotation.labels and CLASSES[CRACK] not in drawn:
            raise ImageError(
                "only the photo as a whole has the label crack, so the crack's place is unknown; draw the crack"
            )
        labels = sorted(set(annotation.labels))
        if len(labels) > 1:
            raise ImageError(f"the photo as a whole has the labels {' and '.join(labels)}; keep one label")
        try:
            return crack_mask(annotation, image.shape[1], image.shape[0])
        except InputError as error:
            raise ImageError(str(error)) from error


def find_marks(root: Path) -> Marks:
    """Find the photos of a folder, and their masks or annotations.

    Raises:
        InputError: There are masks and annotations, several files of annotations, or two masks or annotations for one
            photo. Or the annotations cannot be read.
    """
    images = photos_below(root)
    beside = masks_beside_images(images)
    photos = [path for path in images if path not in set(beside)]
    masks = [(path, folder_of(path)) for path in beside]
    for folder in filter(is_mask_folder, subfolders(root)):
        for path in sorted(filter(is_image, files_below(root, folder))):
            masks.append((path, folder_of(path)[len(folder) :].strip("/")))

    files = annotation_files(root)
    if files and masks:
        raise InputError(
            f"{root} has the masks {masks[0][0]}, … and the annotations {files[0]}; keep only masks or annotations"
        )
    if len(files) > 1:
        raise InputError(f"{root} has several files of annotations: {', '.join(files)}; keep one of them")
    if files:
        return _with_annotations(root, photos, files[0])

    candidates = [Candidate(path, folder_of(path).partition("/")[2], CRACK) for path in photos]
    found = match_masks(candidates, masks)
    return Marks(root, photos, found.of_image, without_photo=[*found.without_image, *found.ambiguous])


def _with_annotations(root: Path, photos: list[str], file: str) -> Marks:
    by_name: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        for name in {photo, name_of(photo), _without_suffix(photo), stem(photo)}:
            by_name[_composed(name)].append(photo)

    marks = Marks(root, photos, annotation_file=file)
    for annotation in read_annotations(root / file):
        found = _photo_of(annotation.name, by_name)
        if found is None:
            marks.without_photo.append(annotation.name)
        elif found in marks.annotations:
            raise InputError(f"{root / file} has two annotations for the photo {found}; keep one of them")
        else:
            marks.annotations[found] = annotation
    return marks


def _photo_of(name: str, by_name: dict[str, list[str]]) -> str | None:
    """Return the photo with this path, or the only photo with this name; None if there is no such photo."""
    path = name.replace("\\", "/").removeprefix("./")
    for wanted in (path, name_of(path), _without_suffix(name_of(path))):
        photos = by_name.get(_composed(wanted), [])
        if len(photos) == 1:
            return photos[0]
    return None


def _without_suffix(path: str) -> str:
    return str(PurePosixPath(path).with_suffix("")) if is_image(path) else path


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
