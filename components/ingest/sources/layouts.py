"""Recognise the layout of a folder of labelled images: find its class folders, each with its label and surface.

- ccic: `Positive/`, `Negative/`.
- sdnet2018: `D/CD`, `D/UD` (deck), `P/CP`, `P/UP` (pavement), `W/CW`, `W/UW` (wall); also as `Decks/Cracked`,
  `Decks/Non-cracked`, `Pavements/…`, `Walls/…`, and without the outer folders.
- folders: `crack/`, `no_crack/`.
- roboflow: `train/`, `valid/` and `test/`, each with the folders of the classes.
- photos: whole photos, with masks of their cracks or with annotations. `photo_tiles.py` cuts them into tiles.

Upper and lower case make no difference. `class_names.py` lists the names that we accept for each class, such as
`Non-cracked` and `uncracked`. The class folders can be inside other folders, if only one of these folders has a layout.
Several folders of photos, each with masks, are one source.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from components.ingest.sources.file_table import folder_of, folders_around
from components.ingest.sources.foreign_files import ARCHIVE_SUFFIXES, describe_archive
from components.ingest.sources.photo_layout import is_photo_folder, joined_by_masks
from components.ingest.sources.roboflow import is_split_folder
from components.shared.data.class_names import (
    CRACK_NAMES,
    NEGATIVE_NAMES,
    NO_CRACK_NAMES,
    POSITIVE_NAMES,
    class_of_folder,
    simple_name,
)
from components.shared.data.folder_listing import contents, entries, files_below, files_in, subfolders
from components.shared.data.image_kinds import in_mask_folder, is_image, is_mask_folder, passed_over
from components.shared.data.manifest import CLASSES, CRACK, NO_CRACK
from components.shared.errors import InputError

# Each layout -> what its folder must contain. The texts are for messages.
EXPECTED = {
    "ccic": "Positive, Negative",
    "sdnet2018": "D/CD, D/UD, P/CP, P/UP, W/CW, W/UW, or Decks/Cracked, Decks/Non-cracked, Pavements/…, Walls/…",
    "folders": "crack, no_crack",
    "roboflow": "train, valid, test, each with the folders of the classes",
    "photos": "photos, and masks or annotations (COCO, Label Studio, CVAT, YOLO, CSV)",
}
PHOTOS = "photos"
UNKNOWN_SURFACE = "unknown"
SURFACE_OF_FOLDER = {
    "d": "deck", "deck": "deck", "decks": "deck", "bridgedeck": "deck", "bridgedecks": "deck",
    "p": "pavement", "pavement": "pavement", "pavements": "pavement",
    "w": "wall", "wall": "wall", "walls": "wall",
}  # fmt: skip
SDNET2018_FOLDERS = {
    "cd": (CRACK, "deck"), "ud": (NO_CRACK, "deck"),
    "cp": (CRACK, "pavement"), "up": (NO_CRACK, "pavement"),
    "cw": (CRACK, "wall"), "uw": (NO_CRACK, "wall"),
}  # fmt: skip
# Some copies of SDNET2018 have these class names in folders of surfaces. A folder walls/crack is not SDNET2018.
SDNET2018_CLASSES = {"cracked": CRACK, "noncracked": NO_CRACK, "uncracked": NO_CRACK}
MAX_OUTER_FOLDERS = 6
MAX_FOLDERS_TO_SEARCH = 200


@dataclass(frozen=True)
class ClassFolder:
    """A folder whose images all have one label.

    Attributes:
        path: The folder, relative to the layout's root, spelled as on the disk.
        label: 0 no_crack, 1 crack.
        surface: deck, pavement, wall or unknown.
        published: The usual name of this folder in the layout, such as D/CD.
    """

    path: str
    label: int
    surface: str
    published: str


@dataclass(frozen=True)
class Layout:
    """The layout of a folder.

    Attributes:
        name: ccic, sdnet2018, folders, roboflow or photos.
        root: In the layout photos, the folder that contains the photos. In other layouts, the folder that contains the
            class folders. It also contains the folders of masks that are outside the class folders.
        folders: The class folders. The layout photos has none.
    """

    name: str
    root: Path
    folders: list[ClassFolder]

    def outer_folders(self) -> list[str]:
        """Return the folders around the class folders, in order, relative to the root. The first one is ""."""
        return sorted({outer for folder in self.folders for outer in folders_around(folder.path)})

    def mask_folders(self) -> list[str]:
        """Return the folders of masks outside the class folders, relative to the root."""
        found = []
        for outer in self.outer_folders():
            names = filter(is_mask_folder, entries(self.root / outer))
            found += [f"{outer}/{name}".strip("/") for name in names]
        return found


def find_layout(folder: Path, name: str = "auto") -> Layout:
    """Find the layout of a folder. If the folder itself has no layout, find the layout of a folder inside it.

    Args:
        folder: The source.
        name: A layout's name, or "auto".

    Raises:
        InputError: The folder is empty, no layout fits, several layouts fit, or a class has no images. The message
            shows what we expected and what we found.
    """
    names = list(EXPECTED) if name == "auto" else [name]
    layouts = _search(folder, [each for each in names if each != PHOTOS], _layouts_of)
    if layouts:
        layout = _only(folder, layouts)
        _check_classes(layout)
        return _with_masks_around(folder, layout)
    # A source with class folders can also have a folder of masks. So we look for the layout photos last.
    layouts = _search(folder, [PHOTOS] if PHOTOS in names else [], _photos_of)
    if layouts:
        root = joined_by_masks(folder, [layout.root for layout in layouts])
        return Layout(PHOTOS, root, []) if root else _only(folder, layouts)

    archive = _archive_in(folder)
    if archive is not None:
        raise InputError(f"{folder} has none of the known layouts, but it has an archive: {describe_archive(archive)}")
    expected = "; ".join(f"{each}: {EXPECTED[each]}" for each in names)
    raise InputError(
        f"{folder} has none of the known layouts. Expected folders ({expected}). Found: {contents(folder)}. Check "
        "the path, rename the folders, or list the images in a CSV or Parquet table"
    )


def _archive_in(folder: Path) -> Path | None:
    """Return the first archive in a folder or directly in one of its subfolders. Return None if there is none."""
    for root in [folder, *_inner_folders([folder])]:
        for name in files_in(root, ""):
            if name.lower().endswith(ARCHIVE_SUFFIXES):
                return root / name
    return None


def _search(folder: Path, names: list[str], layouts_of: Callable[[Path, list[str]], list[Layout]]) -> list[Layout]:
    """Return the layouts of a folder. If it has none, look in its inner folders, level by level."""
    roots = [folder]
    for _ in range(MAX_OUTER_FOLDERS if names else 0):
        found = []
        for root in roots:
            found += layouts_of(root, names)
        if found:
            return found
        roots = _inner_folders(roots)
    return []


def _photos_of(root: Path, names: list[str]) -> list[Layout]:
    return [Layout(PHOTOS, root, [])] if is_photo_folder(root) else []


def _layouts_of(root: Path, names: list[str]) -> list[Layout]:
    inner = subfolders(root)
    layouts = []
    for name in names:
        folders = _RECOGNISERS[name](root, inner)
        if folders:
            layouts.append(Layout(name, root, folders))
    return layouts


def _with_masks_around(source: Path, layout: Layout) -> Layout:
    """Move the layout's root to the outermost folder that contains a folder of masks. Return the new layout.

    For example, the class folders are in `images`, and the masks are in `masks`, next to `images`.
    """
    for root in reversed([layout.root, *layout.root.parents]):
        if root.is_relative_to(source) and any(map(is_mask_folder, entries(root))):
            inner = layout.root.relative_to(root)
            folders = [replace(each, path=(inner / each.path).as_posix()) for each in layout.folders]
            return replace(layout, root=root, folders=folders)
    return layout


def _inner_folders(roots: list[Path]) -> list[Path]:
    inner = []
    for root in roots:
        for name in subfolders(root):
            if not is_mask_folder(name):
                inner.append(root / name)
    return inner[:MAX_FOLDERS_TO_SEARCH]


def _named(inner: list[str], crack_names: frozenset[str], no_crack_names: frozenset[str]) -> list[ClassFolder]:
    folders = []
    for name in inner:
        if simple_name(name) in crack_names:
            folders.append(ClassFolder(name, CRACK, UNKNOWN_SURFACE, CLASSES[CRACK]))
        elif simple_name(name) in no_crack_names:
            folders.append(ClassFolder(name, NO_CRACK, UNKNOWN_SURFACE, CLASSES[NO_CRACK]))
    return folders


def _ccic(root: Path, inner: list[str]) -> list[ClassFolder]:
    if len(_labels(_named(inner, CRACK_NAMES, NO_CRACK_NAMES))) == 1:
        return []  # for example `crack` and `negative`: these folders are the layout `folders`
    folders = []
    for each in _named(inner, POSITIVE_NAMES, NEGATIVE_NAMES):
        published = "Positive" if each.label == CRACK else "Negative"
        folders.append(ClassFolder(each.path, each.label, each.surface, published))
    return folders


def _folders(root: Path, inner: list[str]) -> list[ClassFolder]:
    folders = _named(inner, CRACK_NAMES, NO_CRACK_NAMES)
    if len(_labels(folders)) == 1:
        return _named(inner, CRACK_NAMES | POSITIVE_NAMES, NO_CRACK_NAMES | NEGATIVE_NAMES)
    return folders


def _labels(folders: list[ClassFolder]) -> set[int]:
    return {folder.label for folder in folders}


def _sdnet2018(root: Path, inner: list[str]) -> list[ClassFolder]:
    paths = list(inner)
    for name in inner:
        if simple_name(name) in SURFACE_OF_FOLDER:
            paths += [f"{name}/{part}" for part in subfolders(root / name)]

    folders = []
    for path in paths:
        name = path.rpartition("/")[2]
        label, surface = SDNET2018_FOLDERS.get(simple_name(name), (None, ""))
        if "/" in path and simple_name(name) in SDNET2018_CLASSES:
            label = SDNET2018_CLASSES[simple_name(name)]
            surface = SURFACE_OF_FOLDER[simple_name(folder_of(path))]
        if label is not None:
            letter = surface[0].upper()
            published = f"{letter}/{'C' if label == CRACK else 'U'}{letter}"
            folders.append(ClassFolder(path, label, surface, published))
    return folders


def _roboflow(root: Path, inner: list[str]) -> list[ClassFolder]:
    folders = []
    for split in inner:
        if is_split_folder(split):
            for name in subfolders(root / split):
                label = class_of_folder(name)
                if label is not None:
                    path = f"{split}/{name}"
                    folders.append(ClassFolder(path, label, UNKNOWN_SURFACE, CLASSES[label]))
    return folders


# Each function takes a folder and the names of its subfolders, and returns the class folders of its layout.
_RECOGNISERS: dict[str, Callable[[Path, list[str]], list[ClassFolder]]] = {
    "ccic": _ccic,
    "sdnet2018": _sdnet2018,
    "folders": _folders,
    "roboflow": _roboflow,
}


def _only(folder: Path, found: list[Layout]) -> Layout:
    """Return the only layout that was found in a folder. Raise InputError if there are several."""
    if len(found) == 1:
        return found[0]
    described = []
    for layout in found:
        paths = ", ".join(each.path for each in layout.folders)
        described.append(f"{layout.name} in {layout.root} ({paths})" if paths else f"{layout.name} in {layout.root}")
    advice = "choose a layout with the option ?layout=NAME or the parameter ingest.layout"
    if len({layout.root for layout in found}) > 1:
        advice = "name these folders as separate sources, with a comma between them"
    raise InputError(f"{folder} has several layouts: {'; '.join(described)}. A source must have one layout; {advice}")


def _check_classes(layout: Layout) -> None:
    missing = []
    others: list[str] = []
    for label in (CRACK, NO_CRACK):
        own = [folder.path for folder in layout.folders if folder.label == label]
        if not any(_has_image(layout.root, path) for path in own):
            for path in own:
                others += files_below(layout.root, path)
            where = " or ".join(own) or f"a folder of the layout ({EXPECTED[layout.name]})"
            missing.append(f"images of the class {CLASSES[label]} in {where}")

    if missing:
        problem = "only one class" if len(missing) == 1 else "no images"
        skipped = passed_over(others)
        found = f"{contents(layout.root)}; {skipped}" if skipped else contents(layout.root)
        raise InputError(
            f"{layout.root} has {problem}: layout {layout.name} expects {' and '.join(missing)}, but there are "
            f"none. Found: {found}. Add the missing images, or choose another layout"
        )


def _has_image(root: Path, part: str) -> bool:
    return any(is_image(path) and not in_mask_folder(path) for path in files_below(root, part))
