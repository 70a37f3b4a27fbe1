"""Decodes image files to 8 bit, or refuses them: never a picture that is silently wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.datasets.headers import Header, parse_header
from data_pipeline.problems import BadFileError

Pixels = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16

LARGE = 2**25  # bytes, or pixels, of a file that is decoded from the disk
MOST_PIXELS = 2**30  # OpenCV's own limit
_ROWS = 256

# What turns a stored picture upright, by EXIF orientation: transpose first, then flip.
_TRANSPOSED = (5, 6, 7, 8)
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # cv2.flip codes: 1 left-right, 0 top-bottom


def read_image(path: Path, channels: int) -> NDArray[np.uint8]:
    """Read a picture as 8 bit grey or RGB, upright.

    16 bit is scaled by its full range (65535 becomes 255), palettes are expanded, the EXIF
    orientation is applied, colour becomes grey by the luma of BT.601.

    Args:
        path: A jpg, png, bmp or tif.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 [height, width, channels].

    Raises:
        BadFileError: for an unreadable, truncated or damaged file, transparent pixels, CMYK,
            several pages, float samples, or 16 bit of which the top four bits are never used.
    """
    content = read_bytes(path)
    header = parse_header(content)
    # Of a large file not both its bytes and its pixels are in memory, and the pixels once.
    large = max(len(content), header.height * header.width) > LARGE
    data = path if large else content
    del content
    if header.format == "jpeg" and channels == 1:
        pixels = _decode(data, header, cv2.IMREAD_GRAYSCALE)  # luma as stored: exact, and faster
    else:
        pixels = _decode(data, header)
    grey_or_bgr = _to_8_bit(_upright(pixels, header.orientation))
    if channels == 1:
        if grey_or_bgr.ndim == 3:
            grey_or_bgr = cv2.cvtColor(grey_or_bgr, cv2.COLOR_BGR2GRAY)
        return grey_or_bgr[:, :, np.newaxis]
    if grey_or_bgr.ndim == 3:
        return _reversed_channels(grey_or_bgr)
    rgb: NDArray[np.uint8] = cv2.cvtColor(grey_or_bgr, cv2.COLOR_GRAY2RGB)
    return rgb


def read_size(path: Path) -> tuple[int, int]:
    """Return the height and width of a picture, upright, without decoding it.

    Raises:
        BadFileError: for a file that is unreadable, truncated or damaged.
    """
    header = parse_header(read_bytes(path))
    size = header.height, header.width
    return size[::-1] if header.orientation in _TRANSPOSED else size


def _reversed_channels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn BGR into RGB in place, some rows at a time: a large image fits memory once."""
    for top in range(0, len(pixels), _ROWS):
        pixels[top : top + _ROWS] = pixels[top : top + _ROWS, :, ::-1]
    return pixels


def read_pixels(data: bytes) -> tuple[Pixels, Header]:
    """Decode samples as stored, for masks: no scaling, no colour conversion but a palette's.

    Returns:
        uint8 or uint16 [height, width], or [height, width, 3] in OpenCV's order blue, green, red;
        and the file's header.

    Raises:
        BadFileError: as `read_image`, and for a mask that says it is to be turned.
    """
    header = parse_header(data)
    if header.orientation != 1:
        raise BadFileError("an EXIF orientation; store the mask upright")
    return _decode(data, header), header


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        BadFileError: when it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFileError(f"cannot be read: {error.strerror}") from None


def _decode(data: bytes | Path, header: Header, flags: int | None = None) -> Pixels:
    """Decodes, checks against the header, and drops an alpha channel that is opaque."""
    if header.height * header.width > MOST_PIXELS:
        raise BadFileError(
            f"expected at most {MOST_PIXELS:,} pixels, which is what OpenCV decodes, received "
            f"{header.height} x {header.width}"
        )
    if flags is None:
        flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    flags = cv2.IMREAD_UNCHANGED if header.alpha else flags | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels: Pixels | None = (
            _read_once(data, flags)
            if isinstance(data, Path)
            else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        )
    except (cv2.error, MemoryError) as error:
        raise BadFileError(f"cannot be decoded: {error}") from None
    if pixels is None:
        raise BadFileError(f"damaged: its {header.format} data cannot be decoded")
    if pixels.shape[:2] != (header.height, header.width):
        raise BadFileError(
            f"damaged: expected {header.height} x {header.width} pixels, decoded "
            f"{pixels.shape[0]} x {pixels.shape[1]}"
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise BadFileError(f"expected samples of 8 or 16 bit, received {pixels.dtype}")
    return _without_alpha(pixels) if header.alpha else pixels


def _read_once(path: Path, flags: int) -> Pixels | None:
    """Decode a file into the array that is returned; what OpenCV returns by itself is a copy."""
    pixels: Pixels | None = cv2.imread(str(path), None, flags)
    if pixels is None or not pixels.size:  # damaged, or OpenCV 4.10, which left it empty
        pixels = cv2.imread(str(path), flags)
    return pixels


def _without_alpha(pixels: Pixels) -> Pixels:
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] in (2, 4):
        if pixels[:, :, -1].min() < np.iinfo(pixels.dtype).max:
            raise BadFileError("has transparent pixels, whose colour is undefined; flatten it")
        pixels = pixels[:, :, :-1]
    kept: Pixels = np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return kept


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in _TRANSPOSED:
        pixels = cv2.transpose(pixels)
    if orientation in _FLIPS:
        pixels = cv2.flip(pixels, _FLIPS[orientation])
    return pixels


def _to_8_bit(pixels: Pixels) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint16:
        brightest = int(pixels.max())
        if 0 < brightest < 4096:
            raise BadFileError(
                f"16 bit whose brightest value is {brightest}, as of a camera of 12 bits or "
                "fewer; scale it to the full range of 65535, or save it as 8 bit"
            )
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    return pixels.astype(np.uint8, copy=False)
