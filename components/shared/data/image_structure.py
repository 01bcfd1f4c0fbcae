"""Check image files before a decoder reads them: the number of pixels, frames and pages, the checksums, and the end."""

import logging
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # tifffile logs odd tags of files that we read or refuse

# Pillow's own limit, which we use for every decoder. A small file can contain more pixels than fit into the memory.
MAX_PIXELS = 178_956_970
MIN_SIDE = 3  # pixels. Below this size, the noise of an image is not defined (image_features.py).
JPEG, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# Start-of-frame markers. The three omitted markers have another meaning (JPEG standard T.81, table B.1).
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In a scan's data, 0xff is followed by 0 or by a restart marker. Any other byte after 0xff starts the next segment.
JPEG_NEXT_SEGMENT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
PNG = b"\x89PNG\r\n\x1a\n"
PNG_ANIMATION, PNG_FRAME, PNG_PIXELS = b"acTL", b"fcTL", b"IDAT"
# The two markers at the start of a JPEG 2000 codestream: its start, and the sizes (T.800, annex A.5.1).
JPEG2000_SIZES = b"\xff\x4f\xff\x51"
# The width, the height and the largest possible value, separated by white space and comments.
PPM_HEADER = re.compile(rb"P[2356]" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d+)")
# The first bytes of the parts of a GIF file (GIF89a specification, sections 20, 23 and 27). Zeros can be between them.
GIF_EXTENSION, GIF_FRAME, GIF_END = b"!", b",", b";"
GIF_HEADER_BYTES, GIF_FRAME_BYTES = 13, 10
NOT_ZERO = re.compile(rb"[^\0]")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
HEIF_FILE_TYPE = b"ftyp"
# The box with the width and height of a coded image (ISO/IEC 23008-12, section 6.5.3). A HEIF file can show only a part
# of a coded image.
HEIF_SIZE = re.compile(rb"ispe\0{4}(....)(....)", re.DOTALL)


class ImageError(ValueError):
    """The bytes are a damaged image, or they are not an image that we accept.

    The message gives the reason, but not the name of the file.
    """


def check_size(width: int, height: int) -> None:
    """Raise ImageError if an image has more than MAX_PIXELS, or a side shorter than MIN_SIDE."""
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"too small: {width}x{height} pixels; an image needs at least {MIN_SIDE} pixels on each side")
    if width * height > MAX_PIXELS:
        raise ImageError(f"too large: {width}x{height} pixels, more than {MAX_PIXELS}; cut it into smaller images")


def check_png(data: bytes) -> None:
    """Raise ImageError if a chunk is missing or has a wrong checksum, or if the PNG is an animation.

    The PNG specification (third edition) describes the checksums in section 5.3, and animations in section 4.9.
    """
    place, kind = len(PNG), b""
    kinds = []
    while kind != b"IEND":
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            raise ImageError("not a whole image: the end of the PNG data is missing")
        kind = data[place + 4 : place + 8]
        checksum = int.from_bytes(data[end - 4 : end])
        if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != checksum:
            raise ImageError("not a whole image: a checksum of the PNG data is wrong")
        kinds.append(kind)
        place = end

    if PNG_ANIMATION in kinds:
        parts = [kind for kind in kinds if kind in (PNG_FRAME, PNG_PIXELS)]
        has_still_image = parts[:1] == [PNG_PIXELS]  # an image for programs that cannot show the animation
        check_frames(parts.count(PNG_FRAME) + has_still_image)


def check_gif(data: bytes) -> None:
    """Raise ImageError if the end of a GIF file is missing, or if it has several frames.

    If the first frame is whole and the file ends in a later frame, Pillow reports no error.
    """
    place = GIF_HEADER_BYTES + _gif_colours(data[10:11])
    frames = 0
    while data[place : place + 1] != GIF_END:
        kind = data[place : place + 1]
        if kind == GIF_FRAME:
            frames += 1
            # The colours of the frame, and one byte with the size of its codes, are before its data.
            place += GIF_FRAME_BYTES + _gif_colours(data[place + 9 : place + 10]) + 1
        elif kind == GIF_EXTENSION:
            place += 2
        else:
            what = "are damaged" if kind else "end too early"
            raise ImageError(f"not a whole image: the GIF data {what}")
        place = _next_part_of_gif(data, place)
    check_frames(frames)


def _gif_colours(flags: bytes) -> int:
    """Read the flags before a table of colours, and return the size of the table in bytes; 0 if there is no table."""
    value = int.from_bytes(flags)
    return 3 * 2 ** (value % 8 + 1) if value >= 128 else 0


def _next_part_of_gif(data: bytes, place: int) -> int:
    """Skip a chain of blocks that begins at `place`. Return the offset of the next part.

    The first byte of each block is its size, and the last block is empty.
    """
    while place < len(data) and data[place]:
        place += 1 + data[place]
    following = NOT_ZERO.search(data, place)
    return following.start() if following else len(data)


def without_trailing_data(jpeg: bytes) -> bytes:
    """Return the JPEG without the data that follows it, such as the video of a motion photo.

    Raises:
        ImageError: The end of the JPEG is missing. An interrupted download can leave zeros there, and Pillow would
            decode the zeros as image data.
    """
    if jpeg.endswith(JPEG_END):
        return jpeg
    for marker, start, _ in _jpeg_segments(jpeg):
        if marker == JPEG_END[1]:
            return jpeg[: start + 2]
    raise ImageError("not a whole image: the end of the JPEG data is missing")


def _jpeg_segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment of a JPEG file. Stop if the structure is broken."""
    place = len(JPEG)
    while place + 2 <= len(jpeg) and jpeg[place] == 0xFF:
        marker = jpeg[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == JPEG_END[1]:
            yield marker, place, place + 2
            return

        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4])
        yield marker, place, end
        if marker == JPEG_SCAN[1]:
            following = JPEG_NEXT_SEGMENT.search(jpeg, end)
            if following is None:
                return
            end = following.start()
        place = end


def size_in_header(data: bytes) -> tuple[int, int] | None:
    """Return the width and height of a PNG or JPEG file. Return None for other files and if the size is missing."""
    if data.startswith(PNG):
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith(JPEG):
        for marker, start, _ in _jpeg_segments(data):
            if marker in JPEG_FRAMES:
                return int.from_bytes(data[start + 7 : start + 9]), int.from_bytes(data[start + 5 : start + 7])
    return None


def check_heif_sizes(data: bytes) -> None:
    """Raise ImageError if a coded image in a HEIF or AVIF file has more than MAX_PIXELS. Other files are ignored.

    Such a file can show a small part of a huge coded image, and Pillow reports only the size of this part.
    """
    if data[4:8] == HEIF_FILE_TYPE:
        for size in HEIF_SIZE.finditer(data):
            check_size(int.from_bytes(size[1]), int.from_bytes(size[2]))


def deepest_channel(jpeg2000: bytes) -> int:
    """Return the largest number of bits per channel of a JPEG 2000 file. Return 0 if its codestream has no header."""
    start = jpeg2000.find(JPEG2000_SIZES)
    if start < 0:
        return 0
    channels = int.from_bytes(jpeg2000[start + 40 : start + 42])
    depths = jpeg2000[start + 42 : start + 42 + 3 * channels : 3]
    return max((1 + depth % 128 for depth in depths), default=0)  # the highest bit says whether values are signed


def white_of_ppm(data: bytes) -> int:
    """Return the largest possible value of a PPM or PGM file. Return 0 if its header has none."""
    header = PPM_HEADER.match(data)
    return int(header[3]) if header else 0


def check_frames(frames: int) -> None:
    """Raise ImageError if a file has several frames or pages."""
    if frames > 1:
        raise ImageError(f"not one photo: {frames} frames or pages in one file; save one of them as an image")


def check_tiff(file: "TiffFile") -> "TiffPage | None":
    """Check that a TIFF file has one photo, and that the first image is this photo in full resolution.

    Return the photo's mask. Return None if the file has no mask.

    Overviews and masks can follow the photo. A mask is 0 for the pixels that show nothing.

    Raises:
        ImageError: The first image is a mask, or it is smaller than another image. Or there are several photos or
            several masks. Or the mask and the photo differ in size.
    """
    pages = _tiff_pages(file)
    first, *following = pages
    if first.is_mask:
        raise ImageError("its first image is a mask; save the photo as a file of its own")

    others = [*following]
    for page in pages:
        others += cast("Sequence[TiffPage]", page.pages or ())
    for other in others:
        if not other.is_mask and _pixels(other) > _pixels(first):
            raise ImageError(
                f"the first image of the file has {first.imagewidth}x{first.imagelength} pixels, and another one has "
                f"{other.imagewidth}x{other.imagelength}; save the one that you want to use as a separate file"
            )
    check_frames(1 + sum(not page.is_mask and not page.is_reduced for page in following))

    masks = [page for page in others if page.is_mask and not page.is_reduced]
    if len(masks) > 1 or any(mask.shape != (first.imagelength, first.imagewidth) for mask in masks):
        raise ImageError("it has several masks, or a mask of another size; save the photo without masks")
    return masks[0] if masks else None


def _tiff_pages(file: "TiffFile") -> list["TiffPage"]:
    """Return the pages of a TIFF file.

    Stop if a page names an earlier page as the next page. tifffile does not notice this.

    Raises:
        ImageError: A page names a next page that is missing. tifffile does not report this. The missing page can be a
            mask, or the photo itself.
    """
    pages: dict[int, TiffPage] = {}
    for page in file.pages:
        if page.offset in pages:
            break
        pages[page.offset] = cast("TiffPage", page)

    following = _offset_of_next_page(file, next(reversed(pages)))
    if following and following not in pages:
        raise ImageError("not a whole image: a page of the TIFF file is missing")
    return list(pages.values())


def _offset_of_next_page(file: "TiffFile", offset: int) -> int:
    """Return the offset of the page that follows the page at `offset`. Return 0 after the last page."""
    layout, handle = file.tiff, file.filehandle
    handle.seek(offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(offset + layout.tagnosize + tags * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    return following


def _pixels(page: "TiffPage") -> int:
    return page.imagewidth * page.imagelength
