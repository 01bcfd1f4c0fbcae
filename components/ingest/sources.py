"""Where labelled pictures come from: a data URI becomes local folders and lists of their files."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from components.ingest.archives import is_archive, unpack
from components.ingest.config import IngestConfig
from components.ingest.download import Objects, download
from components.ingest.layouts import Item, find_layout, list_items, with_groups
from components.ingest.tables import SUFFIXES, read_table
from components.ingest.uri import KINDS, SourceUri, absolute
from components.shared.manifest import CLASSES
from components.shared.runtime import InputError, progress

SYNTHETIC = {"images": 600, "seed": 1, "size": 128}


@dataclass(frozen=True)
class Source:
    """A source at hand.

    Attributes:
        name: Kept with every image: the option `source`, else ccic or sdnet2018 by the layout, synthetic, or the name
            of the folder, archive, prefix or table.
        layout: What was found; "table" for a table.
        items: Its files, ordered by name.
        uri: The same for the same source on every day.
        bring: Makes sure that the files of these items are on this machine.
    """

    name: str
    layout: str
    items: list[Item]
    uri: str
    bring: Callable[[Iterable[Item]], None]


def open_sources(uris: list[SourceUri], config: IngestConfig, scratch: Path) -> list[Source]:
    """List the files of sources; archives are unpacked, and objects are not fetched before they are asked for.

    Args:
        uris: One or more.
        config: Layout and group pattern, for sources that do not name their own.
        scratch: Folder for what has to be fetched, unpacked or drawn; the caller removes it.

    Raises:
        InputError: A source is of no known kind, does not exist, cannot be fetched, is damaged, or has no known layout;
            or two have the same name.
    """
    sources = []
    for number, uri in enumerate(uris):
        found = _open(uri, config, scratch / f"source-{number}")
        name = uri.options.get("source", found.name)
        items = [replace(i, source=name, folder=found.folder, tag=found.tag(i)) for i in found.items]
        sources.append(Source(name, found.layout, items, absolute(uri), found.bring))
    name, times = Counter(source.name for source in sources).most_common(1)[0]
    if times > 1:
        raise InputError(
            f"data is {','.join(uri.text for uri in uris)!r}: {times} sources are called {name}; name them apart with "
            "the option ?source=NAME behind each"
        )
    return sources


@dataclass(frozen=True)
class Opened:
    """A source's files in a local folder; `tag` and `bring` as in `Item` and `Source`, for items without a folder."""

    name: str
    layout: str
    folder: Path
    items: list[Item]
    tag: Callable[[Item], str]
    bring: Callable[[Iterable[Item]], None] = lambda items: None


def _open(uri: SourceUri, config: IngestConfig, scratch: Path) -> Opened:
    scratch.mkdir()
    content = scratch / "content"
    if uri.scheme == "synthetic":
        return _draw(uri, scratch)
    if uri.scheme == "s3":
        with _named(uri):
            objects = Objects(uri.location, content)
            opened = _folder(content, uri, config, _name(uri.location))
        return replace(opened, tag=_tags(lambda name: objects.tag(f"{opened.folder}/{name}")), bring=objects.bring)
    if uri.scheme:
        with _named(uri):
            archive = scratch / "archive"
            download(uri.location, archive, uri.sha256)
            _unpack(archive, content, config.max_unpacked, uri.text)
            archive.unlink()
            return replace(_folder(content, uri, config, _name(uri.location)), tag=lambda item: uri.sha256)
    path = Path(uri.location).expanduser()
    if path.is_dir():
        return _folder(path, uri, config, "")
    if path.suffix.lower() in SUFFIXES:
        items = read_table(path)
        pattern = uri.options.get("group_pattern", config.group_pattern)
        items = items if pattern is None else with_groups(items, pattern)
        return Opened(path.stem, "table", path.parent, items, _tags(lambda name: _changed(f"{path.parent}/{name}")))
    with _named(uri):
        _unpack(path, content, config.max_unpacked, uri.text)
        tag = _changed(path)
        return replace(_folder(content, uri, config, _name(uri.location)), tag=lambda item: tag)


@contextmanager
def _named(uri: SourceUri) -> Iterator[None]:
    """Let errors name the source, not the folder of ours that it was brought to."""
    try:
        yield
    except InputError as error:
        raise InputError(f"data is {uri.text!r}: {error}") from error


def _folder(folder: Path, uri: SourceUri, config: IngestConfig, name: str) -> Opened:
    layout, root = find_layout(folder, uri.options.get("layout", config.layout))
    items = list_items(root, layout, uri.options.get("group_pattern", config.group_pattern))
    name = (name or root.resolve().name) if layout == "folders" else layout
    return Opened(name, layout, root, items, _tags(lambda name: _changed(f"{root}/{name}")))


def _tags(tag_of: Callable[[str], str]) -> Callable[[Item], str]:
    """The tag of an item from those of its file and its mask."""
    return lambda item: tag_of(item.path) if item.mask is None else f"{tag_of(item.path)} {tag_of(item.mask)}"


def _changed(path: Path | str) -> str:
    try:
        status = os.stat(path)
    except OSError:  # a dangling link, say: to be found out when it is read
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def _unpack(archive: Path, content: Path, limit: int, name: str) -> None:
    if not is_archive(archive):
        raise InputError(f"{name} is neither a zip or tar archive nor a .csv or .parquet table; data must be {KINDS}")
    unpack(archive, content, limit, name)


def _name(location: str) -> str:
    """The last part of a path or address, without the suffixes of an archive."""
    return re.sub(r"(\.tar)?\.\w+$", "", location.partition("?")[0].rstrip("/").rpartition("/")[2]) or "archive"


def _draw(uri: SourceUri, scratch: Path) -> Opened:
    """Draw synthetic tiles and keep them as files: from here on they are like any others, but always looked at."""
    import cv2

    from components.ingest.synthetic import draw_dataset

    settings = _settings(uri)
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
    items.sort(key=lambda item: item.path)
    return Opened("synthetic", "synthetic", scratch, items, lambda item: "")


def _settings(uri: SourceUri) -> dict[str, int]:
    given = uri.settings
    unknown = sorted(set(given) - set(SYNTHETIC))
    wrong = [f"{name}={value}" for name, value in given.items() if not value.isascii() or not value.isdigit()]
    if unknown or wrong or uri.location.removeprefix("synthetic://").strip("/"):
        raise InputError(
            f"data is {uri.text!r}: wrong is {', '.join(unknown + wrong) or 'what stands before the ?'}; write "
            f"synthetic://?images=600&seed=1&size=128, whole numbers only"
        )
    settings = SYNTHETIC | {name: int(value) for name, value in given.items()}
    if settings["images"] < 1 or not 32 <= settings["size"] <= 1024:
        raise InputError(f"data is {uri.text!r}: images must be at least 1, and size 32 to 1024")
    return settings
