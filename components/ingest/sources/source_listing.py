"""List the images of a layout with their label, surface, photo and mask, and describe how we read the folders."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from components.ingest.sources.file_table import as_files, name_of, with_photos
from components.ingest.sources.layouts import ClassFolder, Layout
from components.ingest.sources.masks import Candidate, Masks, masks_beside_images, match_masks
from components.ingest.sources.roboflow import own_split, photo_of_copy
from components.shared.data.folder_listing import files_below, files_in, subfolders
from components.shared.data.image_kinds import in_mask_folder, is_image, passed_over
from components.shared.data.manifest import CLASSES, CRACK

SDNET2018_NAME = re.compile(r"(\d+)-\d+(?:_\d+)?\.")


class Listing(NamedTuple):
    """The images of a source, and what people should know about them.

    Attributes:
        files: Table with the columns of `file_table.FILE_TYPES`, ordered by path.
        understood: Sentences for the user that say how we read the source.
        warnings: Sentences about files that are not used, and about masks without an image.
        masks_without_image: Number of masks that belong to no image, or that fit several images.
    """

    files: pd.DataFrame
    understood: list[str]
    warnings: list[str]
    masks_without_image: int = 0


def list_images(layout: Layout, group_pattern: str | None = None) -> Listing:
    """List the images of the class folders, ordered by path, without hidden files.

    The name of a tile says which photo it was cut from. In SDNET2018, if the surface is deck, 7001-12.jpg is tile 12 of
    the photo deck/7001. The tile's number can have an addition, as in 7001-12_2.jpg. In data sets of Roboflow,
    IMG_1_jpg.rf.HASH.jpg is a copy of the photo IMG_1. For other names, the photo is unknown.

    Args:
        layout: The layout of the source.
        group_pattern: Regular expression on the file name. Its first capturing group matches the name of the photo. If
            a pattern is given, it is used instead of the rules above.

    Raises:
        InputError: The pattern does not match every name, a name is not UTF-8, a folder cannot be listed, or an image
            has two masks.
    """
    inside: list[str] = []
    masks: list[str] = []
    rows: list[tuple[str, ClassFolder]] = []
    for folder in layout.folders:
        paths = list(files_below(layout.root, folder.path))
        own = [path for path in paths if is_image(path) and not in_mask_folder(path)]
        beside = set(masks_beside_images(own))

        inside += paths
        masks += [path for path in paths if is_image(path) and in_mask_folder(path)]
        masks += beside
        rows += [(path, folder) for path in own if path not in beside]
    for folder_of_masks in layout.mask_folders():
        paths = list(files_below(layout.root, folder_of_masks))
        inside += paths
        masks += filter(is_image, paths)

    candidates = [Candidate(path, folder.path, folder.label) for path, folder in rows]
    found = match_masks(candidates, sorted(masks))
    table = {
        "path": [path for path, _ in rows],
        "label": [folder.label for _, folder in rows],
        "surface": [folder.surface for _, folder in rows],
        "photo": [_photo(layout.name, path, folder.surface) for path, folder in rows],
        "mask": [found.of_image.get(path) for path, _ in rows],
    }
    files = as_files(pd.DataFrame(table, dtype=object))
    if group_pattern is not None:
        files = with_photos(files, group_pattern)

    warnings = [*_warnings_of_masks(files, found), *_not_used(layout, inside)]
    unused = len(found.without_image) + len(found.ambiguous)
    return Listing(files, _understood(layout, rows), warnings, unused)


def _photo(layout: str, path: str, surface: str) -> str | None:
    original = photo_of_copy(path)
    if original:
        return original
    match = SDNET2018_NAME.match(name_of(path)) if layout == "sdnet2018" else None
    return f"{surface}/{match[1]}" if match else None


def _understood(layout: Layout, rows: Sequence[tuple[str, ClassFolder]]) -> list[str]:
    counts = Counter(folder for _, folder in rows)
    folders = []
    for folder in layout.folders:
        surface = "" if folder.surface == "unknown" else f", {folder.surface}"
        folders.append(f"{folder.path or 'all folders'} ({CLASSES[folder.label]}{surface}): {counts[folder]}")
    sentence = f"the layout is {layout.name}; images by folder: {'; '.join(folders)}"
    return [sentence, *own_split(path for path, _ in rows)]


def _warnings_of_masks(files: pd.DataFrame, found: Masks) -> Iterator[str]:
    if found.without_image:
        yield f"masks that belong to no image: {len(found.without_image)}, such as {found.without_image[0]}"
    if found.ambiguous:
        yield (
            f"masks that fit several images and are not used: {len(found.ambiguous)}, such as {found.ambiguous[0]}; "
            "put each mask into a folder with the same name as the folder of its image"
        )
    yield from warn_of_missing_masks(files)


def warn_of_missing_masks(files: pd.DataFrame) -> Iterator[str]:
    """Yield a warning if some images of class crack have a mask and some do not."""
    missing = cracks_without_mask(files)
    if missing:
        yield f"images of class crack without a mask, although others have one: {len(missing)}, such as {missing[0]}"


def cracks_without_mask(files: pd.DataFrame) -> list[str]:
    """Return the paths of images of class crack without a mask. If no crack image has a mask, return an empty list."""
    cracks = files[files["label"] == CRACK]
    without = cracks["path"][cracks["mask"].isna()].tolist()
    return without if len(without) < len(cracks) else []


def _not_used(layout: Layout, inside: list[str]) -> Iterator[str]:
    """Describe the files that are not ingested. `inside` holds the files of the class folders and the mask folders."""
    used = {folder.path for folder in layout.folders}
    outer = layout.outer_folders()
    known = {*used, *outer, *layout.mask_folders()}
    files: list[str] = []
    folders: list[str] = []
    for parent in outer:
        files += files_in(layout.root, parent)
        for name in subfolders(layout.root / parent):
            path = f"{parent}/{name}".strip("/")
            if path not in known:
                folders.append(path)

    images = list(filter(is_image, files))
    if images:
        yield f"images outside the class folders, which are not used: {len(images)}, such as {images[0]}"
    if folders:
        yield f"folders that are not used, because their names are not names of classes: {', '.join(folders)}"
    skipped = passed_over([*inside, *files])
    if skipped:
        yield skipped
