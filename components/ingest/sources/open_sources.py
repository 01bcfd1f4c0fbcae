"""Where labelled pictures come from: a data URI becomes local folders and tables of their files."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from components.ingest.config import IngestConfig
from components.ingest.sources.archives import is_archive, unpack
from components.ingest.sources.download import Objects, download
from components.ingest.sources.layouts import FILES, as_files, find_layout, list_files, with_photos
from components.ingest.sources.tables import SUFFIXES, read_table
from components.ingest.sources.uri import KINDS, SourceUri, absolute
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.events import progress

SYNTHETIC = {"images": 600, "seed": 1, "size": 128}


@dataclass(frozen=True)
class Source:
    """A source at hand.

    Attributes:
        name: Kept with every image: the option `source`, else ccic or sdnet2018 by the layout, synthetic, or the name
            of the folder, archive, prefix or table.
        layout: What was found; "table" for a table.
        folder: Where its files lie on this machine.
        files: Table of the columns `layouts.FILES`, ordered by path; and tag, which changes whenever the file or its
            mask does, and is empty where that cannot be told without reading them.
        uri: The same for the same source on every day.
        bring: Makes sure that these files (rows of such a table) and their masks are on this machine.
    """

    name: str
    layout: str
    folder: Path
    files: pd.DataFrame
    uri: str
    bring: Callable[[pd.DataFrame], None]


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
        files = found.files.assign(tag=pd.Series(found.tags(found.files), found.files.index, "str"))
        sources.append(Source(name, found.layout, found.folder, files, absolute(uri), found.bring))
    name, times = Counter(source.name for source in sources).most_common(1)[0]
    if times > 1:
        raise InputError(
            f"data is {','.join(uri.text for uri in uris)!r}: {times} sources are called {name}; name them apart with "
            "the option ?source=NAME behind each"
        )
    return sources


def archive_tag(uri: SourceUri) -> str:
    """What tells, without opening it, that an archive is the same; empty for sources of other kinds."""
    path = Path(uri.location).expanduser()
    local = not uri.scheme and path.is_file() and path.suffix.lower() not in SUFFIXES
    return _changed(path) if local else uri.sha256


@dataclass(frozen=True)
class Opened:
    """A source's files in a local folder; `bring` as in `Source`, `tags` gives the tags of a table of files."""

    name: str
    layout: str
    folder: Path
    files: pd.DataFrame
    tags: Callable[[pd.DataFrame], list[str] | str]
    bring: Callable[[pd.DataFrame], None] = lambda files: None


def _open(uri: SourceUri, config: IngestConfig, scratch: Path) -> Opened:
    scratch.mkdir()
    content = scratch / "content"
    if uri.scheme == "synthetic":
        return _draw(uri, scratch)
    if uri.scheme == "s3":
        with _named(uri):
            objects = Objects(uri.location, content)
            opened = _folder(content, uri, config, _name(uri.location))
        root = opened.folder
        return replace(opened, tags=_tags(root, objects.tag), bring=lambda files: objects.bring(_paths(root, files)))
    path, tag = Path(uri.location).expanduser(), archive_tag(uri)
    if path.is_dir():
        return _folder(path, uri, config, "")
    if not tag:
        files = read_table(path)
        pattern = uri.options.get("group_pattern", config.group_pattern)
        files = files if pattern is None else with_photos(files, pattern)
        return Opened(path.stem, "table", path.parent, files, _tags(path.parent, _changed))
    with _named(uri):
        if uri.scheme:
            path = scratch / "archive"
            download(uri.location, path, uri.sha256)
        _unpack(path, content, config.max_unpacked, uri.text)
        if uri.scheme:
            path.unlink()
        return replace(_folder(content, uri, config, _name(uri.location)), tags=lambda files: tag)


@contextmanager
def _named(uri: SourceUri) -> Iterator[None]:
    """Let errors name the source, not the folder of ours that it was brought to."""
    try:
        yield
    except InputError as error:
        raise InputError(f"data is {uri.text!r}: {error}") from error


def _folder(folder: Path, uri: SourceUri, config: IngestConfig, name: str) -> Opened:
    layout, root = find_layout(folder, uri.options.get("layout", config.layout))
    files = list_files(root, layout, uri.options.get("group_pattern", config.group_pattern))
    name = (name or root.resolve().name) if layout == "folders" else layout
    return Opened(name, layout, root, files, _tags(root, _changed))


def _tags(root: Path, tag_of: Callable[[str], str]) -> Callable[[pd.DataFrame], list[str]]:
    """The tags of files from those of each file and its mask."""

    def tags(files: pd.DataFrame) -> list[str]:
        found = [tag_of(f"{root}/{path}") for path in files["path"].tolist()]
        for row, mask in files["mask"].dropna().items():
            found[row] += f" {tag_of(f'{root}/{mask}')}"
        return found

    return tags


def _paths(root: Path, files: pd.DataFrame) -> list[str]:
    return [f"{root}/{name}" for name in [*files["path"], *files["mask"].dropna()]]


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

    from components.ingest.sources.synthetic import draw_dataset

    settings = _settings(uri)
    rows = []
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
        rows.append((path, tile.label, tile.surface, tile.group, None if tile.mask is None else mask))
    files = as_files(pd.DataFrame(rows, columns=list(FILES)))
    return Opened("synthetic", "synthetic", scratch, files, lambda files: "")


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
