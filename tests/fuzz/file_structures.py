"""Damage the structure of image files: directories, blocks, chunks and boxes can still be read, but are wrong.

Each function takes the content of a file and returns it with one damage. The damages are those that programs make and
attackers choose: wrong lengths, offsets, counts, types and sizes, and parts that are missing, doubled or swapped.
"""

import random
import struct
import zlib
from collections.abc import Callable

INTERESTING = (0, 1, 2, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
CONTAINERS = (b"meta", b"iprp", b"ipco", b"jp2h", b"moov", b"trak")
TIFF_INNER_DIRECTORIES = 330  # the tag of overviews, or of the photo behind a thumbnail
FULL_CONTAINERS = (b"meta",)  # they have four bytes of version and flags before their content
PNG_START = 8
RIFF_START = 12

Parts = list[bytes]


def damage_structure(data: bytes, rng: random.Random) -> bytes:
    """Return the file with one damage of its structure. The file may be of any kind."""
    if data.startswith(b"\x89PNG"):
        return data[:PNG_START] + b"".join(_damaged_parts(_png_chunks(data), rng, _damaged_png_chunk))
    if data.startswith(b"\xff\xd8"):
        return _damaged_jpeg(data, rng)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _damaged_tiff(data, 0, rng)
    if data.startswith(b"RIFF"):
        return data[:RIFF_START] + b"".join(_damaged_parts(_riff_chunks(data), rng, _damaged_riff_chunk))
    if data[4:8] in (b"ftyp", b"jP  "):
        return b"".join(_damaged_parts(_boxes(data), rng, _damaged_box))
    return _damaged_field(data, 0, min(len(data), 64), rng)


def _number(rng: random.Random, size: int) -> int:
    return rng.choice([*INTERESTING, rng.randrange(2**32)]) % 2 ** (8 * size)


def _damaged_field(data: bytes, start: int, end: int, rng: random.Random) -> bytes:
    """Write another number over one, two or four bytes between two places."""
    size = rng.choice([1, 2, 4])
    place = rng.randrange(start, max(start + 1, end - size))
    order = rng.choice(["little", "big"])
    return data[:place] + _number(rng, size).to_bytes(size, order) + data[place + size :]


def _damaged_parts(parts: Parts, rng: random.Random, damaged: Callable[[bytes, random.Random], bytes]) -> Parts:
    """Remove, double or swap a part, or damage its inside."""
    place, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    way = rng.choice(["drop", "double", "swap", "inside", "inside", "inside"])
    changed = list(parts)
    if way == "drop":
        del changed[place]
    elif way == "double":
        changed.insert(place, parts[place])
    elif way == "swap":
        changed[place], changed[other] = parts[other], parts[place]
    else:
        changed[place] = damaged(parts[place], rng)
    return changed


def _png_chunks(data: bytes) -> Parts:
    chunks, place = [], PNG_START
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        chunks.append(data[place:end])
        place = end
    return chunks


def _damaged_png_chunk(chunk: bytes, rng: random.Random) -> bytes:
    """Change the length, the type or the content of a chunk. Nine times in ten, a new checksum fits the change."""
    length, kind, content = chunk[:4], chunk[4:8], chunk[8:-4]
    way = rng.choice(["length", "kind", "content", "content"])
    if way == "length":
        return _number(rng, 4).to_bytes(4) + chunk[4:]
    if way == "kind":
        kind = rng.choice([b"IDAT", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"iCCP", b"eXIf", rng.randbytes(4)])
    elif content:
        content = _damaged_field(content, 0, min(len(content), 64), rng)
    checksum = zlib.crc32(kind + content) if rng.random() < 0.9 else 0
    return length + kind + content + checksum.to_bytes(4)


def _riff_chunks(data: bytes) -> Parts:
    chunks, place = [], RIFF_START
    while place < len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        end = place + 8 + size + size % 2
        chunks.append(data[place:end])
        place = end
    return chunks


def _damaged_riff_chunk(chunk: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return chunk[:4] + _number(rng, 4).to_bytes(4, "little") + chunk[8:]
    return _damaged_field(chunk, 0, min(len(chunk), 48), rng)


def _boxes(data: bytes) -> Parts:
    boxes, place = [], 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4])
        end = place + size if size >= 8 else len(data)
        boxes.append(data[place:end])
        place = end
    return boxes


def _damaged_box(box: bytes, rng: random.Random) -> bytes:
    """Change the size, the type or the content of a box, or go into one of its inner boxes."""
    kind = box[4:8]
    if kind in CONTAINERS and rng.random() < 0.9:
        start = 12 if kind in FULL_CONTAINERS else 8
        inner = b"".join(_damaged_parts(_boxes(box[start:]), rng, _damaged_box))
        size = len(inner) + start
        return size.to_bytes(4) + box[4:start] + inner
    way = rng.random()
    if way < 0.2:
        return _number(rng, 4).to_bytes(4) + box[4:]
    if way < 0.3:
        return box[:4] + rng.choice([b"free", b"ispe", b"clap", b"irot", b"hvcC", b"av1C", rng.randbytes(4)]) + box[8:]
    return _damaged_field(box, 8, min(len(box), 72), rng)


def _damaged_jpeg(data: bytes, rng: random.Random) -> bytes:
    """Damage the segments before the first scan, or the directories of EXIF and of MPO in them."""
    segments, place = [], 2
    while data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        segments.append(data[place:end])
        place = end
    return data[:2] + b"".join(_damaged_parts(segments, rng, _damaged_segment)) + data[place:]


def _damaged_segment(segment: bytes, rng: random.Random) -> bytes:
    for start in (segment.find(b"II*\0"), segment.find(b"MM\0*")):
        if start > 0 and rng.random() < 0.9:
            return segment[:start] + _damaged_tiff(segment[start:], 0, rng)
    if rng.random() < 0.3:
        return segment[:2] + _number(rng, 2).to_bytes(2) + segment[4:]
    return _damaged_field(segment, 4, len(segment), rng)


def _damaged_tiff(data: bytes, start: int, rng: random.Random) -> bytes:
    """Change a directory of a TIFF: its number of entries, a field of an entry, or the offset of the next directory."""
    order, is_big = ("<" if data[:2] == b"II" else ">"), b"+" in data[2:4]
    place_format, entry_bytes, count_bytes = ("Q", 20, 8) if is_big else ("I", 12, 2)
    place = struct.unpack_from(order + place_format, data, 8 if is_big else 4)[0]
    directories = []
    while place and place + count_bytes < len(data) and place not in directories:
        directories.append(place)
        count = struct.unpack_from(order + ("Q" if is_big else "H"), data, place)[0]
        next_place = place + count_bytes + count * entry_bytes
        inner = data.find(struct.pack(order + "H", TIFF_INNER_DIRECTORIES), place, next_place)
        if inner > 0 and not is_big:
            directories.append(struct.unpack_from(order + "I", data, inner + 8)[0])
        if next_place + 8 > len(data):
            break
        place = struct.unpack_from(order + place_format, data, next_place)[0]
    if not directories:
        return _damaged_field(data, start, min(len(data), 64), rng)

    place = rng.choice(directories)
    count = struct.unpack_from(order + ("Q" if is_big else "H"), data, place)[0]
    way = rng.choice(["count", "next", "entry", "entry", "entry", "entry"])
    if way == "count":
        return _damaged_field(data, place, place + 2, rng)
    if way == "next":
        after = place + count_bytes + count * entry_bytes
        target = rng.choice([place, directories[0], len(data) - 3, rng.randrange(len(data))])
        return data[:after] + struct.pack(order + "I", target) + data[after + 4 :]
    entry = place + count_bytes + rng.randrange(max(1, count)) * entry_bytes
    return _damaged_field(data, entry, entry + entry_bytes, rng)
