"""What a data URI says: one or more sources, separated by commas or white space, each with its options.

| source | example |
|---|---|
| folder | `tiles`, `/data/tiles?layout=folders`, `file:///data/my%20tiles` |
| archive, zip or tar | `/data/tiles.zip`, `https://host/tiles.tar.gz#sha256=0123…` (64 hex characters) |
| objects | `s3://bucket/prefix` |
| table of files | `/data/tiles.csv`, `/data/tiles.parquet`: columns path, label, and if wanted group, surface, mask |
| drawn tiles | `synthetic://?images=600&seed=1&size=128` |

The options `layout`, `group_pattern` and `source` (the name that the images bear) stand behind a `?`, joined by `&`.
In options and after `file://`, commas, spaces and the characters `% & # ?` are written as %2C, %20 and so on. A
data URI that is the path of something that exists is that one source, whatever characters it has.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from components.ingest.sources.layouts import FOLDERS
from components.shared.errors import InputError

OPTIONS = ("layout", "group_pattern", "source")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
KINDS = "a folder, a zip or tar archive, a .csv or .parquet table, s3://, https:// or synthetic://?images=600&seed=1"


@dataclass(frozen=True)
class SourceUri:
    """One source as the user named it.

    Attributes:
        text: As given, for messages.
        scheme: "" for a path, else s3, https, http or synthetic.
        location: The path, or the URI without options and fragment.
        options: Of `OPTIONS`, those given.
        settings: What else stands in the query of a synthetic source.
        sha256: Of a web archive, 64 hex characters.
    """

    text: str
    scheme: str
    location: str
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    sha256: str = ""


def parse_sources(data_uri: str) -> list[SourceUri]:
    """Take a data URI apart.

    Raises:
        InputError: Nothing is named, a source is of no known kind, an option is unknown, or a checksum is missing.
    """
    if not data_uri.strip():
        raise InputError(f"data is {data_uri!r}; name {KINDS}")
    if Path(data_uri).expanduser().exists():
        return [SourceUri(data_uri, "", data_uri)]
    return [_parse(text) for text in re.split(r"[,\s]+", data_uri) if text]


def absolute_sources(data_uri: str) -> str:
    """The same data URI for any working directory: paths made absolute, other sources as they are.

    Raises:
        InputError: As `parse_sources`; or a path does not exist.
    """
    return ",".join(absolute(source) for source in parse_sources(data_uri))


def absolute(source: SourceUri) -> str:
    """One source's URI for any working directory. Raises `InputError` where its path does not exist."""
    if source.scheme:
        return source.text
    path = Path(source.location).expanduser()
    if not path.exists():
        raise InputError(f"data {source.location} does not exist; name {KINDS}")
    path = path.resolve()
    query = source.text.partition("?")[2] if source.options else ""
    plain = not re.search(r"[,\s?]", str(path))
    return (str(path) if plain else path.as_uri()) + (f"?{query}" if query else "")


def _parse(text: str) -> SourceUri:
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme and urlsplit(text).username is not None:
        shown = re.sub("//.*@", "//…@", text)
        raise InputError(f"data is {shown!r}; a name or password in it would be seen by all who see the run: use s3://")
    rest, _, fragment = text.partition("#") if scheme in ("https", "http") else (text, "", "")
    location, _, query = rest.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    options, others = {}, []
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name in OPTIONS:
            options[name] = unquote(value)
        else:
            others.append(pair)
    _check_options(text, options)
    if scheme == "synthetic":
        return SourceUri(text, scheme, location, options, {n: v for n, _, v in (p.partition("=") for p in others)})
    if scheme in ("https", "http"):  # the address may have a query of its own
        address = location + ("?" + "&".join(others) if others else "")
        return SourceUri(text, scheme, address, options, {}, _checksum(text, scheme, fragment))
    if others:
        raise InputError(f"data is {text!r}: unknown option {others[0]!r}; there are {', '.join(OPTIONS)}")
    if scheme == "file":
        return SourceUri(text, "", unquote(urlsplit(location).path), options)
    if scheme not in ("", "s3"):
        raise InputError(f"data is {text!r}; it must be {KINDS}")
    return SourceUri(text, scheme, location, options)


def _check_options(text: str, options: dict[str, str]) -> None:
    layout = options.get("layout", "auto")
    if layout not in ("auto", *FOLDERS):
        raise InputError(f"data is {text!r}: unknown layout {layout!r}; there are auto, {', '.join(FOLDERS)}")
    if "group_pattern" in options:
        try:
            groups = re.compile(options["group_pattern"]).groups
        except re.error as error:
            raise InputError(f"data is {text!r}: its group_pattern is not a regular expression: {error}") from error
        if not groups:
            raise InputError(f"data is {text!r}: its group_pattern has no group: put the photo's part in parentheses")
    if not options.get("source", "-").strip():
        raise InputError(f"data is {text!r}: its option source is empty")


def _checksum(text: str, scheme: str, fragment: str) -> str:
    if scheme == "http" and urlsplit(text).hostname not in LOOPBACK:
        raise InputError(f"data is {text!r}; over the network use https://")
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if not match:
        raise InputError(f"data is {text!r}; add the archive's checksum: {text.partition('#')[0]}#sha256=64 hex digits")
    return match[1].lower()
