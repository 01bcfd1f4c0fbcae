"""Name the kinds of archives and tables that we cannot read, and say what to do instead."""

import zipfile
from pathlib import Path
from typing import NamedTuple

BYTES_TO_LOOK_AT = 512
UNPACK = "unpack it with `{command} {name}`, or with 7-Zip, and give the folder instead"
SAVE_AS_CSV = "save its table as CSV and give the CSV file instead"
DOWNLOAD_AGAIN = "download it again; if this does not help, open it in a browser to see what it is"


class Foreign(NamedTuple):
    """A kind of file that we cannot read: its first bytes, its display name, and what the user can do instead."""

    start: bytes
    kind: str
    advice: str


FOREIGN = (
    Foreign(b"Rar!\x1a\x07", "a RAR archive", UNPACK.replace("{command}", "unrar x")),
    Foreign(b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK.replace("{command}", "7z x")),
    Foreign(b"\x28\xb5\x2f\xfd", "compressed with Zstandard", UNPACK.replace("{command}", "tar --zstd -xf")),
    Foreign(b"MSCF", "a cabinet file of Windows", UNPACK.replace("{command}", "7z x")),
    Foreign(b"PK\x07\x08", "the first part of a split zip archive", UNPACK.replace("{command}", "7z x")),
    Foreign(b"PK\x03\x04", "a zip archive whose end is missing", DOWNLOAD_AGAIN),
    Foreign(b"\x1f\x8b", "compressed with gzip, but not a tar archive", UNPACK.replace("{command}", "gunzip")),
    Foreign(b"\xfd7zXZ\0", "compressed with xz, but not a tar archive", UNPACK.replace("{command}", "unxz")),
    Foreign(b"\xd0\xcf\x11\xe0", "an old document of Microsoft Office", SAVE_AS_CSV),
    Foreign(b"%PDF", "a PDF document", "give a folder of images instead"),
)
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".rar", ".7z", ".cab")
WORKBOOK_MEMBERS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")
WEB_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def describe_foreign(path: Path, name: str) -> str:
    """Return a sentence that says which kind of file this is and what to do instead. Return "" for an unknown kind.

    Args:
        path: The file.
        name: The file as the user wrote it.
    """
    if is_workbook(path):
        return f"{name} is a workbook of a spreadsheet program; {SAVE_AS_CSV}"
    with open(path, "rb") as file:
        start = file.read(BYTES_TO_LOOK_AT)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(WEB_PAGES):
        return f"{name} is a web page, not an archive; {DOWNLOAD_AGAIN}"
    for foreign in FOREIGN:
        if start.startswith(foreign.start):
            return f"{name} is {foreign.kind}, which we cannot unpack; {foreign.advice.format(name=name)}"
    return ""


def describe_archive(path: Path) -> str:
    """Return a sentence that says what to do with an archive that is inside a folder."""
    advice = "unpack it and give the folder with its files, or give a zip or tar archive itself as the data"
    return describe_foreign(path, str(path)) or f"{path} is an archive; {advice}"


def is_workbook(path: Path) -> bool:
    """Return true for a workbook of Excel or LibreOffice, which is a zip archive of XML files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(member in archive.namelist() for member in WORKBOOK_MEMBERS)
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
