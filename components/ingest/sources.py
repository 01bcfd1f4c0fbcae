"""Where labelled pictures come from: a data URI becomes a local folder and a list of its files."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from components.ingest.config import IngestConfig
from components.ingest.layouts import Item, find_layout, list_items
from components.shared.manifest import CLASSES
from components.shared.runtime import InputError, progress

SYNTHETIC = {"images": 600, "seed": 1, "size": 128}


@dataclass(frozen=True)
class Source:
    """A source at hand.

    Attributes:
        name: Kept with every image: ccic, sdnet2018, synthetic, or the folder's name.
        layout: What was found.
        folder: Local folder that the items' names are relative to.
        items: Its files, ordered by name.
    """

    name: str
    layout: str
    folder: Path
    items: list[Item]


def open_source(data_uri: str, config: IngestConfig, scratch: Path) -> Source:
    """Bring a source within reach.

    Args:
        data_uri: A folder, or `synthetic://?images=600&seed=1`.
        config: Layout and group pattern.
        scratch: Folder for what has to be made; the caller removes it.

    Raises:
        InputError: The URI is of no known kind, the folder does not exist, or its layout is unknown.
    """
    scheme = urlsplit(data_uri).scheme if "://" in data_uri else ""
    if scheme == "synthetic":
        return _draw(data_uri, scratch)
    if scheme:
        raise InputError(f"data is {data_uri!r}; it must be a folder or synthetic://?images=600&seed=1")
    folder = Path(data_uri).expanduser()
    if not folder.is_dir():
        raise InputError(f"data is {data_uri!r}, and there is no such folder (looked at {folder.absolute()})")
    layout, root = find_layout(folder, config.layout)
    name = root.resolve().name if layout == "folders" else layout
    return Source(name, layout, root, list_items(root, layout, config.group_pattern))


def _draw(data_uri: str, scratch: Path) -> Source:
    """Draw synthetic tiles and keep them as files, so that from here on they are like any others."""
    import cv2

    from components.ingest.synthetic import draw_dataset

    settings = _settings(data_uri)
    items = []
    for number, tile in enumerate(draw_dataset(settings["images"], settings["seed"], settings["size"])):
        if number % 100 == 0:
            progress(number, settings["images"], "drawing synthetic tiles")
        path, mask = f"{CLASSES[tile.label]}/{tile.name}.jpg", f"masks/{tile.name}.png"
        for name in (path, mask):
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        bgr = cv2.cvtColor(tile.image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(scratch / path), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
        if tile.mask is not None:
            cv2.imwrite(str(scratch / mask), tile.mask.astype("uint8") * 255)
        items.append(Item(path, tile.label, tile.surface, tile.group, None if tile.mask is None else mask))
    return Source("synthetic", "synthetic", scratch, sorted(items, key=lambda item: item.path))


def _settings(data_uri: str) -> dict[str, int]:
    given = dict(parse_qsl(urlsplit(data_uri).query, keep_blank_values=True))
    unknown = sorted(set(given) - set(SYNTHETIC))
    wrong = [f"{name}={value}" for name, value in given.items() if not value.isascii() or not value.isdigit()]
    if unknown or wrong or urlsplit(data_uri).netloc or urlsplit(data_uri).path.strip("/"):
        raise InputError(
            f"data is {data_uri!r}: wrong is {', '.join(unknown + wrong) or 'what stands before the ?'}; write "
            f"synthetic://?images=600&seed=1&size=128, whole numbers only"
        )
    settings = SYNTHETIC | {name: int(value) for name, value in given.items()}
    if settings["images"] < 1 or not 32 <= settings["size"] <= 1024:
        raise InputError(f"data is {data_uri!r}: images must be at least 1, and size 32 to 1024")
    return settings
