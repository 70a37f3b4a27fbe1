"""Reads image headers, because a decoder alone cannot be trusted with them.

OpenCV drops alpha, expands palettes, turns CMYK into some RGB, reads the first of many pages and,
in some versions and formats, returns a truncated file half filled, all without a word. So every
file's structure is checked before it is decoded: sizes, colour model, bits, orientation, and
whether all of it is there (PNG by its checksums, JPEG by walking its segments to the end marker,
TIFF and BMP by the extent of their pixel data).

Sources: ITU-T T.81 (JPEG), W3C PNG third edition, TIFF 6.0, the BMP header family, Exif 2.32.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from data_pipeline.problems import BadFileError

Format = Literal["jpeg", "png", "bmp", "tiff"]
ColorModel = Literal["grey", "rgb", "palette"]

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Header:
    """What an image file says about itself.

    Attributes:
        format: Told by its content, not by its name.
        height: Rows as stored, before the orientation is applied.
        width: Columns as stored.
        color: Colour model of the samples.
        bits: Bits a sample; of a palette, bits an entry's number.
        alpha: Whether it may hold transparent pixels.
        orientation: EXIF orientation, 1 (upright) to 8.
        palette: RGB colours of the palette, else empty.
    """

    format: Format
    height: int
    width: int
    color: ColorModel
    bits: int
    alpha: bool = False
    orientation: int = 1
    palette: tuple[tuple[int, int, int], ...] = ()


def parse_header(data: bytes) -> Header:
    """Read the header of an image file and checks that the file is whole.

    Args:
        data: The whole file.

    Raises:
        BadFileError: for a file that is truncated or damaged, of another format, or of a kind
            that is refused because it could only be read by guessing.
    """
    if not data:
        raise BadFileError("the file is empty")
    try:
        for signature, parse in _PARSERS.items():
            if data.startswith(signature):
                return _checked(parse(data))
    except (struct.error, IndexError):
        raise BadFileError("truncated: it ends within its header") from None
    raise BadFileError(f"expected a jpg, png, bmp or tif, received content {data[:8]!r}")


def _checked(header: Header) -> Header:
    if header.height < 1 or header.width < 1:
        raise BadFileError(f"expected pixels, received {header.height} x {header.width}")
    return header


# JPEG

_MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")  # in scan data FF 00 and FF D0-D7 are data
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def _parse_jpeg(data: bytes) -> Header:
    frame, sequential, orientation = b"", False, 1
    for marker, payload, end in _jpeg_segments(data):
        if marker in _FRAMES:
            frame, sequential = payload, marker in (0xC0, 0xC1)
        elif marker == 0xDA and sequential and data.find(b"\xff\xd9", end) >= 0:
            break  # scan data cannot hold these two bytes: it is the end marker
        elif marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(payload[6:])
    if not frame:
        raise BadFileError("damaged: a JPEG without a frame header")
    bits, height, width, components = struct.unpack_from(">BHHB", frame)
    if bits != 8:
        raise BadFileError(f"expected a JPEG of 8 bits, received {bits}")
    if components == 4:
        raise BadFileError("a CMYK JPEG; its colours need a profile, convert it to RGB or grey")
    if components not in (1, 3):
        raise BadFileError(f"expected a JPEG of 1 or 3 components, received {components}")
    color: ColorModel = "grey" if components == 1 else "rgb"
    return Header("jpeg", height, width, color, 8, orientation=orientation)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield (marker, payload, its end) up to the end marker, whose absence means truncated."""
    position = 2
    while True:
        found = _MARKER.search(data, position)
        if found is None:
            raise BadFileError("truncated: a JPEG without its end marker")
        marker, position = data[found.end() - 1], found.end()
        if marker == 0xD9:
            return
        if marker in (0x01, 0xD8):  # stand alone, without a length
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if position + length > len(data):
            raise BadFileError("truncated: a JPEG that ends within a segment")
        yield marker, data[position + 2 : position + length], position + length
        position += length


# PNG

_PNG_COLORS: dict[int, tuple[ColorModel, bool]] = {
    0: ("grey", False),
    2: ("rgb", False),
    3: ("palette", False),
    4: ("grey", True),
    6: ("rgb", True),
}


def _parse_png(data: bytes) -> Header:
    chunks: dict[bytes, bytes] = {}
    for kind, payload in _png_chunks(data):
        chunks.setdefault(kind, payload)
    if b"IHDR" not in chunks or b"IDAT" not in chunks:
        raise BadFileError("damaged: a PNG without header or pixels")
    if b"acTL" in chunks:
        raise BadFileError("an animated PNG; expected a single picture")
    width, height, bits, code = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    if code not in _PNG_COLORS:
        raise BadFileError(f"damaged: a PNG of unknown colour type {code}")
    color, alpha = _PNG_COLORS[code]
    entries = chunks.get(b"PLTE", b"") if color == "palette" else b""
    palette = tuple((e[0], e[1], e[2]) for e in zip(*[iter(entries)] * 3, strict=False))
    orientation = _exif_orientation(chunks[b"eXIf"]) if b"eXIf" in chunks else 1
    return Header(
        "png", height, width, color, bits, alpha or b"tRNS" in chunks, orientation, palette
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    view, position = memoryview(data), 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        kind = data[position + 4 : position + 8]
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise BadFileError(f"damaged: the checksum of PNG chunk {kind!r} is wrong")
        yield kind, b"" if kind == b"IDAT" else data[position + 8 : end - 4]
        if kind == b"IEND":
            return
        position = end
    raise BadFileError("truncated: a PNG without its end chunk")


# BMP


def _parse_bmp(data: bytes) -> Header:
    offset, size = struct.unpack_from("<II", data, 10)  # of the pixels; of the header
    if size < 40:
        raise BadFileError("a BMP of the OS/2 kind; save it as a common BMP or as PNG")
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if bits not in (1, 4, 8, 24, 32) or compression not in (0, 3) or (compression and bits != 32):
        raise BadFileError(f"a BMP of {bits} bits, compression {compression}; save it as PNG")
    alpha = bits == 32 and size >= 56 and struct.unpack_from("<I", data, 66)[0] != 0
    row = (width * bits + 31) // 32 * 4
    if offset + row * abs(height) > len(data):
        raise BadFileError("truncated: a BMP that ends within its pixels")
    if bits >= 24:
        return Header("bmp", abs(height), width, "rgb", 8, alpha)
    entries = data[14 + size : offset]
    palette = tuple((e[2], e[1], e[0]) for e in zip(*[iter(entries)] * 4, strict=False))
    return Header("bmp", abs(height), width, "palette", bits, palette=palette)


# TIFF, and the TIFF structure within EXIF

_TYPES = {1: "B", 2: "B", 3: "H", 4: "I"}  # BYTE, ASCII, SHORT, LONG
Tags = dict[int, tuple[int, ...]]


def _parse_tiff(data: bytes) -> Header:
    if data[2:4] in (b"\x2b\0", b"\0\x2b"):
        raise BadFileError("a BigTIFF; save it as a common TIFF or as PNG")
    tags, following = _read_ifd(data, None)
    if following and not _read_ifd(data, following)[0].get(254, (0,))[0] & 1:
        raise BadFileError("a TIFF of several pages; expected a single picture")
    samples = tags.get(277, (1,))[0]
    bits = tags.get(258, (1,))[0]
    photometric = tags.get(262, (1,))[0]
    refusals = {
        "CMYK colours": photometric == 5,
        f"photometric interpretation {photometric}": photometric not in (1, 2, 6),
        f"{bits} bits a sample": bits not in (8, 16),
        "signed or floating samples": tags.get(339, (1,))[0] != 1,
        f"{samples} samples a pixel": samples not in (1, 3, 4)
        or (photometric == 1) != (samples == 1),
        "separate colour planes": samples > 1 and tags.get(284, (1,))[0] != 1,
        f"orientation {tags.get(_ORIENTATION, (1,))[0]}": tags.get(_ORIENTATION, (1,))[0] != 1,
    }
    wrong = [reason for reason, applies in refusals.items() if applies]
    if wrong:
        raise BadFileError(f"a TIFF with {', '.join(wrong)}; save it as grey or RGB, 8 or 16 bit")
    _check_tiff_extent(tags, len(data))
    color: ColorModel = "grey" if samples == 1 else "rgb"
    return Header("tiff", tags[257][0], tags[256][0], color, bits, alpha=samples == 4)


def _check_tiff_extent(tags: Tags, size: int) -> None:
    if 256 not in tags or 257 not in tags:
        raise BadFileError("damaged: a TIFF without its size")
    for offsets, counts in ((273, 279), (324, 325)):  # strips, tiles
        pairs = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        if any(offset + count > size for offset, count in pairs):
            raise BadFileError("truncated: a TIFF that ends within its pixels")


def _read_ifd(data: bytes, offset: int | None) -> tuple[Tags, int]:
    """Read an image file directory (None: the first); returns its tags and the next's offset."""
    order = "<" if data[:2] == b"II" else ">"
    start: int = struct.unpack_from(order + "I", data, 4)[0] if offset is None else offset
    (entries,) = struct.unpack_from(order + "H", data, start)
    tags: Tags = {}
    for entry in range(entries):
        position = start + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(order + "HHI", data, position)
        if kind not in _TYPES:
            continue
        layout = f"{order}{count}{_TYPES[kind]}"
        if struct.calcsize(layout) > len(data):
            raise BadFileError("damaged: a tag longer than the file")
        inline = struct.calcsize(layout) <= 4
        where = position + 8 if inline else struct.unpack_from(order + "I", data, position + 8)[0]
        tags[tag] = struct.unpack_from(layout, data, where)
    (following,) = struct.unpack_from(order + "I", data, start + 2 + 12 * entries)
    return tags, following


def _exif_orientation(exif: bytes) -> int:
    try:
        orientation = _read_ifd(exif, None)[0].get(_ORIENTATION, (1,))[0]
    except (struct.error, IndexError, BadFileError):
        raise BadFileError("damaged EXIF: its orientation cannot be known") from None
    return orientation if 1 <= orientation <= 8 else 1


_PARSERS = {
    b"\xff\xd8\xff": _parse_jpeg,
    b"\x89PNG\r\n\x1a\n": _parse_png,
    b"BM": _parse_bmp,
    b"II\x2a\0": _parse_tiff,
    b"MM\0\x2a": _parse_tiff,
    b"II\x2b\0": _parse_tiff,
    b"MM\0\x2b": _parse_tiff,
}
