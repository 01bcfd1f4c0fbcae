"""Turn a data URI into local folders of labelled images and tables of their files."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from components.ingest.config import IngestConfig
from components.ingest.sources.archives import check_names, is_archive, unpack
from components.ingest.sources.download import Objects, download
from components.ingest.sources.file_table import FILE_TYPES, as_files, with_photos
from components.ingest.sources.foreign_files import describe_foreign, is_workbook
from components.ingest.sources.layouts import PHOTOS, Layout, find_layout
from components.ingest.sources.one_class import one_class_layout, photos_without_cracks, warn_of_unknown_photos
from components.ingest.sources.photo_marks import find_marks
from components.ingest.sources.photo_tiles import DEFAULT_TILE_PIXELS, TagOf, cut_tiles, list_tiles
from components.ingest.sources.source_listing import Listing, list_images
from components.ingest.sources.tables import TABLE_SUFFIXES, read_table
from components.ingest.sources.uri import KINDS, SourceUri, class_meanings
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.events import progress

TILES_PER_MESSAGE = 100
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Source:
    """A source whose files are listed.

    Attributes:
        name: The source's name, which is stored with every image. The user can set it with the option `source`.
            Otherwise, sources with the layouts ccic, sdnet2018 and synthetic are named after the layout, and all other
            sources are named after their folder, archive, prefix or table.
        layout: The name of the layout that was found; "table" for a table.
        folder: The folder of the source's files on this machine.
        files: Table with the columns of `file_table.FILE_TYPES`, ordered by path, and the column `tag`. A tag changes
            if the file or its mask changes. A tag is empty if we cannot detect a change without reading the file.
        bring: Function that takes rows of `files`, and puts these files and their masks into `folder` if they are not
            there yet. It downloads objects, or cuts tiles from photos.
        understood: Sentences for the user that say how we read the source.
        warnings: Sentences about files that are not used, and about masks without an image.
        masks_without_image: Number of masks that belong to no image, or that fit several images.
        refused: Photos that were refused before they were cut into tiles, each with the reason.
        one_class: True if the option `all` says that all images have the same class.
    """

    name: str
    layout: str
    folder: Path
    files: pd.DataFrame
    bring: Callable[[pd.DataFrame], None]
    understood: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    masks_without_image: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    one_class: bool = False


def open_sources(uris: list[SourceUri], config: IngestConfig, scratch: Path) -> list[Source]:
    """List the files of sources. Archives are unpacked now. Objects are downloaded later, by `Source.bring`.

    Args:
        uris: One or more sources.
        config: The parameters of ingestion. If a source has its own layout or group pattern as an option, the option is
            used instead.
        scratch: Folder for files that are downloaded, unpacked or generated. The caller removes it.

    Raises:
        InputError: A source has an unknown kind, does not exist, cannot be downloaded, is damaged, or has no known
            layout. Or two sources have the same name.
    """
    sources = []
    for number, uri in enumerate(uris):
        folder = scratch / f"source-{number}"
        folder.mkdir()
        sources.append(_open(uri, config, folder))

    names = Counter(source.name for source in sources)
    name, times = names.most_common(1)[0]
    if times > 1:
        raise InputError(
            f"data is {','.join(uri.text for uri in uris)!r}: {times} sources have the name {name}; give each a "
            "different name with the option ?source=NAME"
        )
    return sources


def check_local_sources(uris: list[SourceUri], config: IngestConfig) -> None:
    """Raise the errors of `open_sources` that the names of files on this machine show, before a run starts.

    Archives are not unpacked, and photos and masks are not opened.
    """
    for uri in uris:
        path = Path(uri.location).expanduser()
        if uri.scheme:
            continue
        if path.is_dir():
            layout = _layout_of(path, uri, config)
            if layout.name != PHOTOS:
                list_images(layout, uri.options.get("group_pattern", config.group_pattern))
        elif archive_tag(uri):
            with _errors_name(uri):
                _require_archive(path, uri.text)
                check_names(path, uri.text)


def archive_tag(uri: SourceUri) -> str:
    """Return a text that changes if the source's archive changes. The archive is not opened.

    Return "" if the source is not an archive.
    """
    if uri.scheme:
        return uri.sha256
    path = Path(uri.location).expanduser()
    is_table = path.suffix.lower() in TABLE_SUFFIXES
    return _size_and_time(path) if path.is_file() and not is_table else ""


def _open(uri: SourceUri, config: IngestConfig, scratch: Path) -> Source:
    if uri.scheme == "synthetic":
        source = _open_synthetic(uri, scratch)
    elif uri.scheme == "s3":
        source = _open_objects(uri, config, scratch)
    elif archive_tag(uri):
        source = _open_archive(uri, config, scratch)
    else:
        path = Path(uri.location).expanduser()
        source = _open_folder(path, uri, config, scratch) if path.is_dir() else _open_table(path, uri, config)
    return replace(source, name=uri.options.get("source", source.name), one_class="all" in uri.options)


def _open_folder(folder: Path, uri: SourceUri, config: IngestConfig, scratch: Path, name: str = "") -> Source:
    """Open a local folder.

    A source with the layout of a public data set is named after the layout. Every other source gets the name `name`,
    or the folder's name if `name` is "".
    """
    layout = _layout_of(folder, uri, config)
    if layout.name == PHOTOS:
        return _open_photos(layout.root, uri, config, scratch, _size_and_time, name)
    return _open_class_folders(layout, uri, config, name)


def _layout_of(folder: Path, uri: SourceUri, config: IngestConfig) -> Layout:
    name = uri.options.get("layout", config.layout)
    if "all" in uri.options:
        return one_class_layout(folder, uri.options["all"], whole_photos="tile" in uri.options or name == PHOTOS)
    return find_layout(folder, name)


def _open_class_folders(layout: Layout, uri: SourceUri, config: IngestConfig, name: str) -> Source:
    """Open a folder with class folders. A source with the layout of a public data set is named after the layout."""
    _refuse_photo_options(uri, layout.name)
    listing = list_images(layout, uri.options.get("group_pattern", config.group_pattern))
    listing.warnings.extend(warn_of_unknown_photos(layout, listing.files))
    own_name = name or layout.root.resolve().name
    is_public = layout.name in ("ccic", "sdnet2018")
    return _on_this_machine(layout.name if is_public else own_name, layout.name, layout.root, listing)


def _open_photos(
    root: Path, uri: SourceUri, config: IngestConfig, scratch: Path, tag_of: TagOf, name: str = ""
) -> Source:
    """Open a folder of whole photos. Their tiles are cut into a temporary folder when they are needed."""
    known = "all" in uri.options
    marks = photos_without_cracks(root) if known else find_marks(root, class_meanings(uri.text, uri.options))
    tile = int(uri.options.get("tile", DEFAULT_TILE_PIXELS))
    tiles = list_tiles(marks, tile, config, tag_of)
    files = tiles.files
    pattern = uri.options.get("group_pattern", config.group_pattern)
    if pattern is not None:
        files = with_photos(files, pattern)

    folder = scratch / "tiles"
    return Source(
        name=name or root.resolve().name,
        layout=PHOTOS,
        folder=folder,
        files=files,
        bring=lambda rows: cut_tiles(marks, tile, rows, folder),
        understood=tiles.understood,
        warnings=tiles.warnings,
        masks_without_image=len(marks.without_photo),
        refused=tiles.refused,
    )


def _refuse_photo_options(uri: SourceUri, layout: str) -> None:
    for option in ("tile", "classes"):
        if option in uri.options:
            raise InputError(
                f"data is {uri.text!r}: the option {option} is only for the layout photos, and this is {layout}; "
                "remove it"
            )


def _open_table(path: Path, uri: SourceUri, config: IngestConfig) -> Source:
    _refuse_photo_options(uri, "a table")
    if "all" in uri.options:
        raise InputError(f"data is {uri.text!r}: a table gives every image its class; remove the option all")
    listing = read_table(path)
    pattern = uri.options.get("group_pattern", config.group_pattern)
    if pattern is not None:
        listing = listing._replace(files=with_photos(listing.files, pattern))
    return _on_this_machine(path.stem, "table", path.parent, listing)


def _open_objects(uri: SourceUri, config: IngestConfig, scratch: Path) -> Source:
    with _errors_name(uri):
        folder = scratch / "content"
        objects = Objects(uri.location, folder)
        layout = _layout_of(folder, uri, config)
        if layout.name == PHOTOS:
            objects.bring(str(path) for path in layout.root.rglob("*") if path.is_file())
            return _open_photos(layout.root, uri, config, scratch, objects.tag, _last_name(uri.location))
        source = _open_class_folders(layout, uri, config, _last_name(uri.location))

    root = source.folder
    return replace(
        source,
        files=_with_tags(source.files, root, objects.tag),
        bring=lambda files: objects.bring(_paths(root, files)),
    )


def _open_archive(uri: SourceUri, config: IngestConfig, scratch: Path) -> Source:
    with _errors_name(uri):
        tag = archive_tag(uri)
        content = scratch / "content"
        if uri.scheme:
            archive = scratch / "archive"
            download(uri.location, archive, uri.sha256)
            _unpack(archive, content, config.max_unpacked, uri.text)
            archive.unlink()
        else:
            _unpack(Path(uri.location).expanduser(), content, config.max_unpacked, uri.text)
        source = _open_folder(content, uri, config, scratch, _last_name(uri.location))
    return replace(source, files=source.files.assign(tag=pd.array([tag] * len(source.files), "str")))


def _on_this_machine(name: str, layout: str, folder: Path, listing: Listing) -> Source:
    return Source(
        name=name,
        layout=layout,
        folder=folder,
        files=_with_tags(listing.files, folder, _size_and_time),
        bring=lambda files: None,
        understood=listing.understood,
        warnings=listing.warnings,
        masks_without_image=listing.masks_without_image,
    )


@contextmanager
def _errors_name(uri: SourceUri) -> Iterator[None]:
    """Add the source's URI to error messages, because these messages name only our local copy of the source."""
    try:
        yield
    except InputError as error:
        raise InputError(f"data is {uri.text!r}: {error}") from error


def _with_tags(files: pd.DataFrame, root: Path, tag_of: Callable[[str], str]) -> pd.DataFrame:
    """Add the column `tag`: the tag of each file and, if it has a mask, the tag of the mask."""
    tags = [tag_of(f"{root}/{path}") for path in files["path"].tolist()]
    for row, mask in files["mask"].dropna().items():
        tags[row] += f" {tag_of(f'{root}/{mask}')}"
    return files.assign(tag=pd.array(tags, "str"))


def _paths(root: Path, files: pd.DataFrame) -> list[str]:
    return [f"{root}/{name}" for name in [*files["path"], *files["mask"].dropna()]]


def _size_and_time(path: Path | str) -> str:
    try:
        status = os.stat(path)
    except OSError:  # such as a broken link; the examination reports it
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def _unpack(archive: Path, content: Path, limit: int, name: str) -> None:
    _require_archive(archive, name)
    unpack(archive, content, limit, name)


def _require_archive(archive: Path, name: str) -> None:
    if is_workbook(archive) or not is_archive(archive):
        foreign = describe_foreign(archive, name)
        if foreign:
            raise InputError(foreign)
        raise InputError(f"{name} is neither a zip or tar archive nor a .csv or .parquet table; data must be {KINDS}")


def _last_name(location: str) -> str:
    """Return the last part of a path or address, without the suffixes of an archive."""
    path = location.partition("?")[0].rstrip("/")
    name = path.rpartition("/")[2]
    return re.sub(r"(\.tar)?\.\w+$", "", name) or "archive"


def _open_synthetic(uri: SourceUri, folder: Path) -> Source:
    """Draw synthetic tiles and write them as files.

    The files are new, so no earlier ingestion can have examined them. Their tags (see `Source`) are empty.
    """
    import cv2

    from components.ingest.sources.synthetic import draw_dataset

    settings = uri.settings
    for name in (*CLASSES, "masks"):
        (folder / name).mkdir()

    rows = []
    for number, tile in enumerate(draw_dataset(settings["images"], settings["seed"], settings["size"])):
        if number % TILES_PER_MESSAGE == 0:
            progress(number, settings["images"], "drawing synthetic tiles")

        path = f"{CLASSES[tile.label]}/{tile.name}.jpg"
        bgr = cv2.cvtColor(tile.image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / path), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])

        mask = None
        if tile.mask is not None:
            mask = f"masks/{tile.name}.png"
            cv2.imwrite(str(folder / mask), tile.mask.astype("uint8") * 255)
        rows.append([path, tile.label, tile.surface, tile.group, mask])

    files = as_files(pd.DataFrame(rows, columns=list(FILE_TYPES))).assign(tag="")
    return Source("synthetic", "synthetic", folder, files, bring=lambda files: None)
