"""Parse a data URI: one or more sources, separated by commas or white space, each with its options.

| source | example |
|---|---|
| folder | `tiles`, `/data/tiles?layout=folders`, `file:///data/my%20tiles` |
| archive, zip or tar | `/data/tiles.zip`, `https://host/tiles.tar.gz#sha256=0123…` (64 hex digits) |
| objects | `s3://bucket/prefix` |
| table of files | `/data/tiles.csv`, `/data/tiles.parquet`: columns path, label, and optionally group, surface, mask |
| synthetic tiles | `synthetic://?images=600&seed=1&size=128` |

Options follow a `?` and are joined by `&`:

- `layout` and `group_pattern`: they replace `ingest.layout` and `ingest.group_pattern`, for this source only.
- `source`: a name for the source.
- `tile`: the side of the tiles that we cut from photos, in pixels.
- `classes`: what the classes in annotations of photos mean, such as `Rust:no_crack;Fissure:crack`.
- `all`: the class of all images of a folder without class folders, such as `walls?all=no_crack`.

In options and after `file://`, write commas, spaces and the characters `% & # ?` as %2C, %20 and so on. If the whole
data URI is the path of an existing file or folder, it is one source. Special characters in this path have no meaning.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import TypeAdapter, ValidationError

from components.ingest.sources.layouts import EXPECTED, PHOTOS
from components.shared.config import PhotoPattern
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.regular_file import reason, require_file

OPTIONS = ("layout", "group_pattern", "source", "tile", "classes", "all")
TILE_SIZES = range(32, 2049)
SYNTHETIC_DEFAULTS = {"images": 600, "seed": 1, "size": 128}
SYNTHETIC_SIZES = range(32, 1025)
MAX_SYNTHETIC_IMAGES = 100_000
MAX_DIGITS = 18
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
KINDS = "a folder, a zip or tar archive, a .csv or .parquet table, s3://, https:// or synthetic://?images=600&seed=1"


@dataclass(frozen=True)
class SourceUri:
    """One source as the user named it.

    Attributes:
        text: The source as the user wrote it, for messages.
        scheme: s3, https, http or synthetic; "" for a path on this machine.
        location: The path, or the URI without options and fragment.
        options: The options that the user gave: name -> value. `OPTIONS` lists the possible names.
        settings: The parameters of a synthetic source: images, seed and size. It is empty for other sources.
        sha256: The checksum of a web archive, 64 hex digits; "" for other sources.
    """

    text: str
    scheme: str
    location: str
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)
    sha256: str = ""


def parse_sources(data_uri: str) -> list[SourceUri]:
    """Parse a data URI.

    Raises:
        InputError: The data URI is empty. Or a source has an unknown kind, a wrong option, a user name or a password.
            Or an archive from the web has no checksum, or has an http:// address that is not on this machine.
    """
    if not data_uri.strip():
        raise InputError(f"data is {data_uri!r}, which contains no source; give {KINDS}")
    if _exists(Path(data_uri).expanduser()):
        return [SourceUri(data_uri, "", data_uri)]
    return [_parse(text) for text in re.split(r"[,\s]+", data_uri) if text]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long, or one of its folders cannot be read
        return False


def absolute_sources(data_uri: str) -> str:
    """Return a data URI with absolute paths, so that it is valid in any working directory.

    Sources that are not paths are unchanged.

    Raises:
        InputError: A path does not exist, or is a pipe, socket or device. Or `parse_sources` cannot parse the data URI.
    """
    return ",".join(absolute(source) for source in parse_sources(data_uri))


def absolute(source: SourceUri) -> str:
    """Return one source's URI with an absolute path. Raise `InputError` if its path cannot be read."""
    if source.scheme:
        return source.text
    path = Path(source.location).expanduser()
    if not _exists(path):
        raise InputError(f"data {source.location} does not exist; check the path, or give {KINDS}")

    if not path.is_dir():
        try:
            require_file(path)
        except OSError as error:
            raise InputError(f"data {source.location} cannot be read: {reason(error)}; give {KINDS}") from error

    path = path.resolve()
    needs_quoting = re.search(r"[,\s?]", str(path))
    location = path.as_uri() if needs_quoting else str(path)
    if source.options:
        query = source.text.partition("?")[2]
        return f"{location}?{query}"
    return location


def _parse(text: str) -> SourceUri:
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme and urlsplit(text).username is not None:
        shown = re.sub("//.*@", "//…@", text)
        raise InputError(
            f"data is {shown!r}; it contains a user name or password, which everyone who sees the run can read; "
            "remove it, or use s3://"
        )
    address, fragment = text, ""
    if scheme in ("https", "http"):
        address, _, fragment = text.partition("#")

    location, _, query = address.partition("?")
    options, others = _parse_query(query)
    _check_options(text, options)

    if scheme == "synthetic":
        return SourceUri(text, scheme, location, options, _synthetic_settings(text, location, others))
    if scheme in ("https", "http"):
        # The address can have its own query.
        if others:
            location = f"{location}?{'&'.join(others)}"
        return SourceUri(text, scheme, location, options, sha256=_checksum(text, scheme, fragment))
    if others:
        raise InputError(f"data is {text!r}: unknown option {others[0]!r}; use one of {', '.join(OPTIONS)}")

    if scheme == "file":
        return SourceUri(text, "", unquote(urlsplit(location).path), options)
    if scheme not in ("", "s3"):
        raise InputError(f"data is {text!r}; it must be {KINDS}")
    return SourceUri(text, scheme, location, options)


def _parse_query(query: str) -> tuple[dict[str, str], list[str]]:
    """Return the options in a query, with unquoted values. Also return all other pairs NAME=VALUE, unchanged."""
    options: dict[str, str] = {}
    others = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name in OPTIONS:
            options[name] = unquote(value)
        elif pair:
            others.append(pair)
    return options, others


def _check_options(text: str, options: dict[str, str]) -> None:
    layouts = ("auto", *EXPECTED)
    layout = options.get("layout", "auto")
    if layout not in layouts:
        raise InputError(f"data is {text!r}: unknown layout {layout!r}; use one of {', '.join(layouts)}")

    if "group_pattern" in options:
        try:
            TypeAdapter(PhotoPattern).validate_python(options["group_pattern"])
        except ValidationError as error:
            problem = error.errors()[0]["ctx"]["error"]
            raise InputError(f"data is {text!r}: its group_pattern {problem}") from error
    tile = options.get("tile", str(TILE_SIZES.start))
    if not (tile.isascii() and tile.isdigit() and len(tile) < 9 and int(tile) in TILE_SIZES):
        raise InputError(
            f"data is {text!r}: its option tile is {tile!r}; give a whole number of pixels from {TILE_SIZES.start} to "
            f"{TILE_SIZES.stop - 1}"
        )
    class_meanings(text, options)
    if "all" in options:
        _check_all(text, options)
    if "source" in options and not options["source"].strip():
        raise InputError(f"data is {text!r}: its option source is empty; give the source a name")


def _check_all(text: str, options: dict[str, str]) -> None:
    if options["all"] not in CLASSES:
        raise InputError(f"data is {text!r}: its option all is {options['all']!r}; give {CLASSES[0]} or {CLASSES[1]}")
    if text.startswith("synthetic:"):
        raise InputError(f"data is {text!r}: synthetic tiles have both classes; remove the option all")
    if "classes" in options or options.get("layout", "auto") not in ("auto", PHOTOS):
        other = "classes" if "classes" in options else "layout"
        raise InputError(
            f"data is {text!r}: the option `all` gives every image the same class, so the option "
            f"`{other}` has no meaning; remove `{other}`"
        )


def class_meanings(text: str, options: dict[str, str]) -> dict[str, str]:
    """Return what the option `classes` says, as a dict: name of a class -> crack or no_crack.

    Args:
        text: The source as the user wrote it, for messages.
        options: The options of the source.

    Raises:
        InputError: The option does not have the form NAME:crack;NAME:no_crack.
    """
    meanings: dict[str, str] = {}
    for pair in options.get("classes", "").split(";") if "classes" in options else []:
        name, _, meaning = pair.rpartition(":")
        if not name or meaning not in CLASSES or name in meanings:
            raise InputError(
                f"data is {text!r}: its option classes has {pair!r}; write each class once, with its meaning "
                f"{CLASSES[0]} or {CLASSES[1]}, as in classes=Rust:no_crack;Fissure:crack"
            )
        meanings[name] = meaning
    return meanings


def _synthetic_settings(text: str, location: str, pairs: list[str]) -> dict[str, int]:
    given = {}
    before_query = location.removeprefix("synthetic://").strip("/")
    wrong = [before_query] if before_query else []
    for pair in pairs:
        name, _, value = pair.partition("=")
        is_number = value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS
        if name in SYNTHETIC_DEFAULTS and is_number:
            given[name] = int(value)
        else:
            wrong.append(f"{name}={value}")
    if wrong:
        raise InputError(
            f"data is {text!r}: it must not contain {', '.join(wrong)}; write "
            "synthetic://?images=600&seed=1&size=128, with whole numbers only"
        )

    settings = SYNTHETIC_DEFAULTS | given
    if not 1 <= settings["images"] <= MAX_SYNTHETIC_IMAGES or settings["size"] not in SYNTHETIC_SIZES:
        raise InputError(
            f"data is {text!r}: images is {settings['images']} and size is {settings['size']}; images must be a "
            f"number from 1 to {MAX_SYNTHETIC_IMAGES}, and size from {SYNTHETIC_SIZES.start} to "
            f"{SYNTHETIC_SIZES.stop - 1}"
        )
    return settings


def _checksum(text: str, scheme: str, fragment: str) -> str:
    if scheme == "http" and urlsplit(text).hostname not in LOOPBACK_HOSTS:
        raise InputError(f"data is {text!r}; http:// is allowed only for a server on this machine; use https://")

    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if not match:
        address = text.partition("#")[0]
        raise InputError(f"data is {text!r}; add the archive's checksum (64 hex digits): {address}#sha256=…")
    return match[1].lower()
