"""Find out where people marked cracks on photos. They drew a mask for each photo, or annotations in a known format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.ingest.mask_check import MaskFitError, check_mask, turned_mask
from components.ingest.sources.file_table import folder_of
from components.ingest.sources.masks import Candidate, masks_beside_images, match_masks
from components.ingest.sources.photo_layout import (
    LABELS,
    annotation_files,
    label_files,
    masks_below,
    names_file,
    photos_below,
)
from components.ingest.sources.photo_names import PhotoNames
from components.ingest.sources.roboflow import CLASS_TABLE
from components.shared.data.annotations.fields import NO_MEANINGS, UnknownClassError
from components.shared.data.annotations.reading import Recognised, not_known, recognise
from components.shared.data.annotations.shapes import (
    ImageAnnotation,
    crack_mask,
    crosses_itself,
    in_pixels,
    outside,
)
from components.shared.data.annotations.yolo import read_class_names, read_yolo
from components.shared.data.image import UPRIGHT, ImageError, decode_mask
from components.shared.data.manifest import CLASSES, CRACK
from components.shared.errors import InputError

MASKS = "masks"


@dataclass(frozen=True)
class Marks:
    """What people marked on the photos of a folder.

    Attributes:
        root: The folder.
        photos: The photos, in order. Paths here and below are relative to the root.
        form: How the cracks are marked, for messages: `MASKS`, or the annotation files and their format.
        files: Each marked photo -> the files that its marks come from: its mask, or the files of annotations.
        annotations: Each annotated photo -> its annotation. The dict is empty if `form` is `MASKS`.
        without_photo: The masks and annotations that belong to no photo, or that fit several photos.
        unused: Files that have the name of an annotation file, but another content.
    """

    root: Path
    photos: list[str]
    form: str = MASKS
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    annotations: dict[str, ImageAnnotation] = field(default_factory=dict)
    without_photo: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def is_exact(self, photo: str) -> bool:
        """Return true if the marks on a photo show the cracks themselves, and are not boxes around cracks."""
        annotation = self.annotations.get(photo)
        return annotation is None or not any(shape.is_box for shape in annotation.shapes)

    def cracks(self, photo: str, data: bytes, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return a mask that marks the cracks of a photo.

        Args:
            photo: One of the photos in `files`.
            data: The content of the photo.
            image: uint8 (H, W, 3), the photo, upright.

        Returns:
            bool (H, W).

        Raises:
            ImageError: The mask or annotation cannot be used. The message says why.
        """
        if self.form != MASKS:
            return self._annotated_cracks(self.annotations[photo], image)

        path = self.root / self.files[photo][0]
        mask = path.read_bytes()
        try:
            turn = check_mask(path, mask, data, image).turn
            return decode_mask(mask if turn == UPRIGHT else turned_mask(mask, turn))
        except MaskFitError:
            raise
        except ImageError as error:
            raise ImageError(f"its mask {path.name}: {error}") from error

    def shapes_outside(self, photo: str, width: int, height: int) -> int:
        """Return how many marked shapes go beyond the edge of a photo. `width` and `height` are in pixels."""
        annotation = self.annotations.get(photo)
        if annotation is None:
            return 0
        return sum(outside(shape, width, height) for shape in in_pixels(annotation, width, height).shapes)

    def crossing_shapes(self, photo: str) -> int:
        """Return how many polygons of a photo cross themselves."""
        annotation = self.annotations.get(photo)
        return 0 if annotation is None else sum(map(crosses_itself, annotation.shapes))

    def _annotated_cracks(self, annotation: ImageAnnotation, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        if annotation.problem:
            raise ImageError(annotation.problem)
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


def find_marks(root: Path, meanings: Mapping[str, str] = NO_MEANINGS) -> Marks:
    """Find the photos of a folder, and their masks or annotations.

    Args:
        root: The folder.
        meanings: Class name in the annotations -> crack or no_crack, for class names that we do not know.

    Raises:
        InputError: The cracks are marked in several forms, such as masks and annotations. Or one photo has two masks or
            two annotations. Or the annotations cannot be read.
    """
    images = photos_below(root)
    beside = masks_beside_images(images)
    photos = [path for path in images if path not in set(beside)]
    masks = [*beside, *masks_below(root)]
    labels = label_files(root, photos)
    recognised, unused = _recognised(root)

    forms = _forms(recognised)
    if labels:
        forms.append(f"{len(labels)} label files of YOLO, such as {labels[0]}")
    if masks:
        forms.append(f"{len(masks)} masks, such as {masks[0]}")
    if len(forms) > 1:
        raise InputError(
            f"{root} marks the cracks in several forms: {'; '.join(forms)}. Keep one form, and remove the others"
        )
    if unused and not forms:
        raise _nothing_known(root / unused[0])

    try:
        if labels:
            return _with_labels(root, photos, labels, meanings, unused)
        if recognised:
            return _with_annotations(root, photos, recognised, meanings, unused)
    except UnknownClassError as error:
        raise InputError(f"{error}. Or give each class a meaning: ?classes=Spalling:no_crack;Fissure:crack") from error

    candidates = [Candidate(path, folder_of(path).partition("/")[0], CRACK) for path in photos]
    found = match_masks(candidates, masks)
    files: dict[str, tuple[str, ...]] = {photo: (mask,) for photo, mask in found.of_image.items()}
    return Marks(root, photos, MASKS, files, without_photo=[*found.without_image, *found.ambiguous], unused=unused)


def _recognised(root: Path) -> tuple[dict[str, Recognised], list[str]]:
    """Return the files of annotations with their formats. Also return the files whose content has no known format."""
    recognised = {}
    unused = []
    for name in annotation_files(root):
        found = recognise(root / name)
        if found is None:
            unused.append(name)
        else:
            recognised[name] = found
    return recognised, unused


def _forms(recognised: dict[str, Recognised]) -> list[str]:
    """Return one text for each form of annotations.

    Usually, each file is one form. But all files together are one form if they have the same format, and if each file
    is alone in a folder of a split, such as `train`.
    """
    folders = {folder_of(name) for name in recognised}
    formats = {one.format for one in recognised.values()}
    is_one_in_each = "" not in folders and len(folders) == len(recognised)
    if len(recognised) > 1 and len(formats) == 1 and is_one_in_each:
        return [f"the files {', '.join(recognised)} ({formats.pop()})"]
    return [f"the file {name} ({one.format})" for name, one in recognised.items()]


def _with_annotations(
    root: Path, photos: list[str], recognised: dict[str, Recognised], meanings: Mapping[str, str], unused: list[str]
) -> Marks:
    """Read files of annotations. A file in a folder such as `train` describes only the photos in this folder."""
    [form] = {one.format for one in recognised.values()}
    marks = Marks(root, photos, f"{', '.join(recognised)} ({form})", unused=unused)
    for file, one in recognised.items():
        folder = folder_of(file)
        names = PhotoNames([photo for photo in photos if not folder or photo.startswith(f"{folder}/")])
        for annotation in one.read(meanings):
            _add(marks, annotation, names, (file,))
    return marks


def _with_labels(
    root: Path, photos: list[str], labels: list[str], meanings: Mapping[str, str], unused: list[str]
) -> Marks:
    """Read YOLO's label files. A photo's marks depend on its label file and on the file of class names."""
    listed = names_file(root)
    names = read_class_names(root / listed) if listed else {}
    marks = Marks(root, photos, f"{len(labels)} label files (YOLO)", unused=unused)
    known = PhotoNames(photos)
    for path in labels:
        annotation = read_yolo(root / path, path[: -len(".txt")], names, meanings)
        _add(marks, annotation, known, (path, listed) if listed else (path,))
    return marks


def _add(marks: Marks, annotation: ImageAnnotation, names: PhotoNames, files: tuple[str, ...]) -> None:
    photo = names.find(annotation.name)
    if photo is None:
        marks.without_photo.append(annotation.name)
    elif photo in marks.annotations:
        raise InputError(
            f"{marks.root}: the photo {photo} has two annotations: {marks.annotations[photo].name}, and "
            f"{annotation.name} in {files[0]}; keep one of them"
        )
    else:
        marks.annotations[photo] = annotation
        marks.files[photo] = files


def _nothing_known(path: Path) -> InputError:
    if path.name == CLASS_TABLE:
        return InputError(
            f"{path} is Roboflow's table of classes, which we cannot read; export the data set from Roboflow as Folder "
            "Structure instead, or write a table of all images with the columns path and label"
        )
    problem = f"{not_known(path)}, or a .txt file for each photo (YOLO), in a folder {LABELS} or beside the photos"
    if path.suffix.lower() == ".csv":
        problem += f". If it is a table of tiles with the columns path and label, give {path} itself as the data"
    return InputError(problem)
