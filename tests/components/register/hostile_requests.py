"""Requests that an attacker, or a program with a mistake, sends to a served model: none may be answered with 200."""

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

JSON = "application/json"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/tmp/owned) (w) file closefile\nshowpage\n%%EOF\n"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
XXE = b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&x;</svg>'
PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/Launch/F(/bin/sh)>>>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"

Request = tuple[str, bytes, str]  # what it is, its body, its content type


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header claims a size, and whose checksums are right."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(data or bytes(2_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(width: int, height: int) -> bytes:
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 10)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.png", bytes(1_000_000))
    return packed.getvalue()


FILES = {
    "EPS": EPS,
    "EPS behind a JPEG marker": b"\xff\xd8\xff" + EPS,
    "DOS EPS": b"\xc5\xd0\xd3\xc6" + struct.pack("<7I", 32, len(EPS), 0, 0, 0, 0, 0) + EPS,
    "SVG": SVG,
    "SVG with an entity": XXE,
    "PDF": PDF,
    "zip": archive(),
    "gzip": zlib.compress(SVG),
    "HTML": b"<html><img src=x onerror=alert(1)></html>",
    "shell script": b"#!/bin/sh\ntouch /tmp/owned\n",
    "pickle": b"cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    "numpy pickle": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "ELF": b"\x7fELF" + bytes(100),
    "XPM": b'/* XPM */\nstatic char *x[] = {"1 1 1 1", "a c #fff", "a"};',
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(100),
    "PSD": b"8BPS\0\1" + bytes(100),
    "FITS": b"SIMPLE  =                    T" + bytes(100),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "PNG of 32,000 x 32,000": png(32_000, 32_000),
    "PNG of 8,000 x 8,000": png(8_000, 8_000),
    "PNG of 4,000,000,000 columns": png(4_000_000_000, 1),
    "PNG without pixels": png(0, 0),
    "GIF of 65,535 x 65,535": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";",
    "BMP of 60,000 x 60,000": b"BM" + struct.pack("<IIIIiiHHIIiiII", 90, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
    "TIFF of 60,000 x 60,000": tiff(60_000, 60_000),
    "TIFF whose directory is itself": b"II*\0" + struct.pack("<IHI", 8, 0, 8),
    "PPM of 100,000 x 100,000": b"P6 100000 100000 255\n" + bytes(10),
    "JPEG of 65,500 x 65,500": b"\xff\xd8\xff\xc0\0\x11\x08" + b"\xff\xdc\xff\xdc" + bytes(30) + b"\xff\xd9",
    "JPEG of markers": b"\xff\xd8" + b"\xff\xff" * 100_000,
    "half a PNG": png(16, 16, bytes(16 * 49))[:60],
    "nothing": b"",
}  # fmt: skip
PATHS = (
    "/etc/passwd", "../../etc/passwd", "~/.ssh/id_rsa", "file:///etc/passwd", "C:\\boot.ini", "\\\\host\\share\\a.png",
    "http://127.0.0.1:9/a.png", "https://169.254.169.254/latest/meta-data", "ftp://127.0.0.1/a", "s3://bucket/a.png",
    "gs://bucket/a", "models:/crack-classifier/1", "data:image/png;base64,AAAA", "|touch /tmp/owned",
    "$(touch /tmp/owned)", "/dev/zero", "/proc/self/environ", "msl:/etc/passwd", "ephemeral:/etc/passwd", "vid:/etc/*",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 1, -1.5, 10**400, "", " ", "=", "====", "AAA", "\0", "\u202e", "é" * 100, "A" * 1_000_000, [], {}, [[]],
    [None], {"a": 1}, {"image": "AAAA"}, [["AAAA", "AAAA"]], ["AAAA", "AAAA"], [1, 2, 3], {"$ref": "#"}, "../" * 1000,
)  # fmt: skip


def text(file: bytes) -> str:
    return base64.b64encode(file).decode()


def requests(good: str) -> Iterator[Request]:
    """Yield the requests. `good` is base64 of an image that the model accepts."""
    for name, file in FILES.items():
        yield name, json.dumps({"inputs": {"image": [text(file)]}}).encode(), JSON
        yield f"{name} after a good one", json.dumps({"instances": [good, text(file)]}).encode(), JSON
    for path in PATHS:
        yield path, json.dumps({"inputs": {"image": [path]}}).encode(), JSON
        yield f"{path} as a record", json.dumps({"dataframe_records": [{"image": path}]}).encode(), JSON
    for value in VALUES:
        name = repr(value)[:40]
        yield name, json.dumps({"inputs": {"image": [good, value]}}).encode(), JSON
        yield f"{name} as a column", json.dumps({"inputs": {"image": value}}).encode(), JSON
        yield f"{name} as the data", json.dumps({"dataframe_split": value}).encode(), JSON

    yield "100 MB of base64", b'{"inputs": {"image": ["' + b"A" * 100_000_000 + b'"]}}', JSON
    for depth in (900, 20_000, 1_000_000):
        yield f"{depth} lists", b'{"inputs": ' + b"[" * depth + b"]" * depth + b"}", JSON
        yield f"{depth} objects", b'{"inputs": ' * depth + b"1" + b"}" * depth, JSON
    yield "1,025 good images", json.dumps({"inputs": {"image": [good] * 1025}}).encode(), JSON
    yield "1,025 good images in CSV", ("image\n" + f"{good}\n" * 1025).encode(), "text/csv"
    many_names = ",".join(map(str, range(1_000_000)))
    yield "1,000,000 columns in CSV", (many_names + ",image\n" + "1\n" * 1000).encode(), "text/csv"
    # If each cell had the size of the longest cell, these 81 cells would need 10 GB.
    long_cell = [{"image": "A" * 30_000_000}, *[{"image": "B"}] * 80]
    for form in ("instances", "inputs", "dataframe_records"):
        yield f"{form} with one long cell", json.dumps({form: long_cell}).encode(), JSON
    yield "100,000 empty cells", json.dumps({"inputs": {"image": [None] * 100_000}}).encode(), JSON
    yield "2,000 columns", json.dumps({"inputs": {f"c{n}": ["A"] for n in range(2_000)}}).encode(), JSON

    for body in (
        b"", b"{", b"nothing", b"[]", b"1", b'"text"', b"null", b"NaN", b"\xff\xfe{\0}\0", b"{}", b'{"inputs": 1}',
        b'{"inputs": []}', b'{"inputs": {}}', b'{"instances": {}}', b'{"dataframe_split": {}}',
        b'{"dataframe_split": 1}',
        b'{"dataframe_split": {"columns": ["image"], "data": [[1, 2]]}}', b'{"dataframe_records": "A"}',
        b'{"dataframe_split": {"columns": ["image", "image"], "data": [["A", "B"]]}}', b'{"inputs": "\\ud800"}',
        b'{"inputs": {"image": ["\\ud800"]}}', b'{"messages": [{"role": "user", "content": "hello"}]}',
        b'{"input": "hello"}', b'{"prompt": "hello"}', b'{"inputs": {"image": ["A"]}, "instances": ["A"]}',
        b'{"inputs": {"picture": ["A"]}}', b'{"columns": ["image"], "data": [["A"]]}', b'{"params": {"a": 1}}',
        b'{"inputs": {"image": ["A"]}, "params": 1}',
    ):  # fmt: skip
        yield repr(body)[:60], body, JSON

    fine = json.dumps({"inputs": {"image": [good]}}).encode()
    for kind in (
        "", "text/html", "text/plain", "application/xml", "multipart/form-data; boundary=x", "application/octet-stream",
        "application/vnd.apache.parquet", "application/x-python-pickle", "application/json; charset=utf-16",
        "application/json; profile=x", "image/png",
    ):  # fmt: skip
        yield f"content type {kind!r}", fine, kind
    for table in (
        b"",
        b"picture\nAAAA\n",
        b"image\n/etc/passwd\n",
        b'image\n"',
        b"\xff\xfe",
        b"image\n" + b'"A' * 100_000,
    ):
        yield f"CSV {table[:20]!r}", table, "text/csv"
