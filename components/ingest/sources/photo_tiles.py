"""Cut tiles from whole photos, and label each tile by the share of its pixels that people marked as crack.

The photos are read one by one. `list_tiles` decodes every photo and lists its tiles with their labels. Later,
`cut_tiles` cuts only the tiles that are needed, and writes them to a temporary folder. Tiles do not overlap, and the
first tile is at the left upper corner of the photo. A tile is named after its photo and its own left upper corner:
`pier1/IMG_1.jpg@512,256.png`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ingest.config import IngestConfig
from components.ingest.examination import check_header
from components.ingest.jpeg_warnings import Messages, listening
from components.ingest.sources.file_table import FILE_TYPES, as_files
from components.ingest.sources.layouts import UNKNOWN_SURFACE
from components.ingest.sources.photo_marks import MASKS, Marks
from components.ingest.sources.roboflow import own_split, photo_of_copy
from components.shared.data.annotations.shapes import SMALLEST_CRACK_SHARE, label_of_share
from components.shared.data.image import ImageError, decode, decode_with_depth, empty_pixels
from components.shared.data.manifest import CLASSES, CRACK, plain
from components.shared.data.scaling_note import scaling_note, used_bits_counts
from components.shared.errors import InputError
from components.shared.events import progress

DEFAULT_TILE_PIXELS = 256
REASONS_IN_MESSAGE = 3
TagOf = Callable[[str], str]


@dataclass
class PhotoTiles:
    """The tiles of a folder of photos.

    Attributes:
        files: Table with the columns of `file_table.FILE_TYPES`, ordered by path, and the column `tag`.
        refused: The photos that are not used, each with the reason.
        understood: Sentences for the user that say how we read the photos.
        warnings: Sentences about photos, masks and annotations that are not used.
    """

    files: pd.DataFrame
    refused: list[tuple[str, str]] = field(default_factory=list)
    understood: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def list_tiles(marks: Marks, tile: int, config: IngestConfig, tag_of: TagOf) -> PhotoTiles:
    """Decode every marked photo, and list its tiles.

    Args:
        marks: The photos and what is marked on them.
        tile: Side of a tile in pixels.
        config: The rules for accepting images. `max_pixels` and `max_refused` apply to photos.
        tag_of: Function that takes the path of a file on this machine and returns the file's tag.

    Raises:
        InputError: No photo is marked, or too many photos are refused.
    """
    marked = [photo for photo in marks.photos if photo in marks.files]
    if not marked:
        raise InputError(
            f"{marks.root} has {len(marks.photos)} photos, but no mask or annotation with the name of a photo"
            f"{_such_as(marks.without_photo)}; rename the masks, or correct the names of photos in the annotations"
        )

    rows: list[tuple] = []
    refused: list[tuple[str, str]] = []
    labels: Counter[int | None] = Counter()
    outside: list[str] = []
    crossing: list[str] = []
    used_bits: list[int] = []
    with listening() as messages:
        for number, photo in enumerate(marked):
            progress(number, len(marked), "reading photos")
            try:
                own, in_between, reaching_out, bits = _tiles_of(marks, photo, tile, config, messages)
            except ImageError as error:
                refused.append((photo, str(error)))
                continue
            except OSError as error:
                refused.append((photo, f"{error.filename} cannot be read: {error.strerror}"))
                continue
            tag = " ".join(tag_of(f"{marks.root}/{path}") for path in (photo, *marks.files[photo]))
            rows += [(*row, tag) for row in own]
            labels.update(row[1] for row in own)
            labels[None] += in_between
            outside += [photo] * bool(reaching_out)
            used_bits.append(bits)
            crossing += [photo] * bool(marks.crossing_shapes(photo))

    _check_refused(marks, marked, refused, config)
    understood = [_understood(marks, marked, tile, labels)]
    scaled = used_bits_counts(used_bits)
    if scaled:
        understood.append(scaling_note("photos", scaled))
    table = pd.DataFrame(rows, columns=[*FILE_TYPES, "tag"], dtype=object)
    return PhotoTiles(
        files=as_files(table).astype({"tag": "str"}),
        refused=refused,
        understood=[*understood, *own_split(marked)],
        warnings=list(_warnings(marks, outside, crossing)),
    )


def cut_tiles(marks: Marks, tile: int, files: pd.DataFrame, folder: Path) -> None:
    """Cut tiles and their masks from the photos, and write them as PNG files. Tiles that were cut before are skipped.

    Args:
        marks: The photos and what is marked on them.
        tile: Side of a tile in pixels.
        files: Rows of `PhotoTiles.files`.
        folder: Where to write the files.

    Raises:
        InputError: A photo was changed or removed since it was listed.
    """
    wanted: dict[str, list[tuple[str, str | None]]] = {}
    for path, mask in zip(plain(files["path"]), plain(files["mask"]), strict=True):
        if not (folder / path).exists():
            wanted.setdefault(_photo_of(path), []).append((path, mask))

    for number, (photo, tiles) in enumerate(wanted.items()):
        progress(number, len(wanted), "cutting photos into tiles")
        try:
            _cut(marks, photo, tile, tiles, folder)
        except (ImageError, FileNotFoundError) as error:
            raise InputError(
                f"{marks.root / photo} was changed during the ingestion: {error}; run the ingestion again"
            ) from error


def _tiles_of(
    marks: Marks, photo: str, tile: int, config: IngestConfig, messages: Messages
) -> tuple[list[tuple], int, int, int]:
    """Decode a photo and list its tiles.

    Returns:
        The rows of the tiles, the number of unused tiles, the number of shapes that go beyond the photo's edge, and
        `used_bits` of the photo (see `image_depth.Decoded`).

    Raises:
        ImageError: The photo, its mask or its annotation cannot be used.
    """
    data = (marks.root / photo).read_bytes()
    check_header(data, config)
    before = messages.size()
    image, used_bits = decode_with_depth(data)
    damage = messages.damage_since(before)
    if damage:
        raise ImageError(f"not a whole image: {damage}")
    height, width = image.shape[:2]
    if min(width, height) < tile:
        raise ImageError(
            f"too small: {width}x{height} pixels, and a tile has {tile}x{tile}; choose smaller tiles with the "
            "option ?tile=PIXELS"
        )

    cracks = marks.cracks(photo, data, image)
    empty = empty_pixels(data)
    rows, unused = [], 0
    for left, top in _corners(width, height, tile):
        area = np.s_[top : top + tile, left : left + tile]
        label = label_of_share(float(cracks[area].mean()))
        if label is None or (empty is not None and empty[area].any()):
            unused += 1
            continue
        path = f"{photo}@{left},{top}.png"
        mask = f"masks/{path}" if label == CRACK and marks.is_exact(photo) else None
        rows.append((path, label, UNKNOWN_SURFACE, photo_of_copy(photo) or photo, mask))
    return rows, unused, marks.shapes_outside(photo, width, height), used_bits


def _corners(width: int, height: int, tile: int) -> Iterator[tuple[int, int]]:
    for top in range(0, height - tile + 1, tile):
        for left in range(0, width - tile + 1, tile):
            yield left, top


def _cut(marks: Marks, photo: str, tile: int, tiles: list[tuple[str, str | None]], folder: Path) -> None:
    data = (marks.root / photo).read_bytes()
    image = decode(data)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    cracks = marks.cracks(photo, data, image)
    for path, mask in tiles:
        left, top = map(int, path.rpartition("@")[2].removesuffix(".png").split(","))
        area = np.s_[top : top + tile, left : left + tile]
        _write(folder / path, bgr[area])
        if mask is not None:
            _write(folder / mask, cracks[area].astype(np.uint8) * 255)


def _photo_of(path: str) -> str:
    return path.rpartition("@")[0]


def _write(path: Path, pixels: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _check_refused(marks: Marks, marked: list[str], refused: list[tuple[str, str]], config: IngestConfig) -> None:
    if len(refused) > config.max_refused * len(marked):
        reasons = "; ".join(f"{photo}: {reason}" for photo, reason in refused[:REASONS_IN_MESSAGE])
        raise InputError(
            f"{len(refused)} of the {len(marked)} photos in {marks.root} are refused, more than ingest.max_refused "
            f"{config.max_refused:g} allows ({reasons}); fix or remove these photos, or raise ingest.max_refused"
        )


def _understood(marks: Marks, marked: list[str], tile: int, labels: Counter[int | None]) -> str:
    by_class = ", ".join(f"{labels[label]} {name}" for label, name in enumerate(CLASSES))
    return (
        f"the layout is photos; {len(marked)} photos with {marks.form} are cut into tiles of {tile} pixels: "
        f"{by_class}; {labels[None]} tiles are not used, because only a few of their "
        f"pixels (less than {SMALLEST_CRACK_SHARE:.1%}) are crack, or because some pixels are transparent"
    )


def _warnings(marks: Marks, outside: list[str], crossing: list[str]) -> Iterator[str]:
    unmarked = [photo for photo in marks.photos if photo not in marks.files]
    kind = "mask" if marks.form == MASKS else "annotation"
    listed = {
        f"photos without {kind}, which are not used": unmarked,
        f"{kind}s that belong to no photo, or that fit several photos": marks.without_photo,
        "photos with shapes that are cut off at the edge of the photo": outside,
        "photos with polygons that cross themselves, so that parts inside do not count as crack": crossing,
        "files that are not annotations and are not used": marks.unused,
    }
    for what, names in listed.items():
        if names:
            yield f"{what}: {len(names)}, such as {names[0]}"


def _such_as(names: list[str]) -> str:
    return f" ({len(names)} with other names, such as {names[0]})" if names else ""
