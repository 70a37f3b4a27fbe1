"""Writes image files of kinds that OpenCV does not write, byte by byte."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

CLASSES = {"background": (0, 0, 0), "hole": (255, 0, 0), "crack": (0, 0, 255)}
COLORS = np.array(list(CLASSES.values()), np.uint8)


def picture(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0) -> NDArray:
    """A smooth random picture, uint8 [height, width, channels] (OpenCV's order)."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2).reshape(height, width, channels)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).reshape(height, width, channels)


def encode(suffix: str, pixels: NDArray) -> bytes:
    ok, data = cv2.imencode(suffix, pixels)
    assert ok
    return data.tobytes()


def png(pixels: NDArray, color_type: int, bits: int, **chunks: bytes) -> bytes:
    """A PNG of samples [h, w] or [h, w, n]; chunks (PLTE=..., tRNS=...) go before the pixels."""
    height, width = pixels.shape[:2]
    samples = pixels.reshape(height, -1)
    if bits == 16:
        rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    elif bits == 8:
        rows = samples.astype(np.uint8)
    else:
        single = np.unpackbits(samples.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
        rows = np.packbits(single.reshape(height, -1), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    content = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0))
    content += b"".join(_chunk(name.encode(), value) for name, value in chunks.items())
    content += _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def exif(orientation: int, order: str = "<") -> bytes:
    """The TIFF structure within EXIF with an orientation alone."""
    start = b"II\x2a\0" if order == "<" else b"MM\0\x2a"
    return start + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def with_exif(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    payload = b"Exif\0\0" + exif(orientation, order)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def cmyk_jpeg(side: int = 16) -> bytes:
    """A baseline JPEG of four components: flat blocks, the difference of each DC being 0."""
    quantization = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64)
    frame = struct.pack(">HBHHB", 20, 8, side, side, 4) + b"".join(
        bytes([number, 0x11, 0]) for number in range(1, 5)
    )
    # One code of one bit in each table: DC category 0, AC end of block. A block is thus 00.
    tables = b"".join(
        b"\xff\xc4" + struct.pack(">HB", 20, kind) + bytes([1] + [0] * 15) + b"\0"
        for kind in (0x00, 0x10)
    )
    scan = b"\xff\xda" + struct.pack(">HB", 14, 4)
    scan += b"".join(bytes([number, 0]) for number in range(1, 5)) + bytes([0, 63, 0])
    bits = 2 * 4 * (side // 8) ** 2
    return (
        b"\xff\xd8" + quantization + b"\xff\xc0" + frame + tables + scan
        + bytes(bits // 8) + b"\xff\xd9"
    )  # fmt: skip


def tiff(pixels: NDArray, **overrides: int | tuple[int, ...]) -> bytes:
    """An uncompressed little-endian TIFF of uint8 samples [h, w] or [h, w, n] in RGB order."""
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    tags: dict[int, tuple[int, int | tuple[int, ...]]] = {
        256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 1),
        262: (3, 1 if samples == 1 else 2), 273: (4, 8), 277: (3, samples), 278: (4, height),
        279: (4, pixels.size), 284: (3, 1),
    }  # fmt: skip
    for name, value in overrides.items():
        tags[int(name.removeprefix("tag"))] = (3, value)
    if samples > 1:
        tags[258] = (3, (8,) * samples)
    body = pixels.tobytes() + b"\0" * (pixels.size % 2)
    outside, entries = b"", b""
    start = 8 + len(body)
    for tag, (kind, value) in sorted(tags.items()):
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(values)}{'HI'[kind - 3]}", *values)
        if len(packed) > 4:
            where = start + 2 + 12 * len(tags) + 4 + len(outside)
            outside, packed = outside + packed + b"\0" * (len(packed) % 2), struct.pack("<I", where)
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II\x2a\0" + struct.pack("<I", start) + body + directory + outside


def labels(height: int = 24, width: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """A mask with a square of hole and a bar of crack, uint8 [height, width]."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    top, left = rng.integers(0, height // 3), rng.integers(0, width // 3)
    mask[top : top + 5, left : left + 6] = 1
    mask[height - 8 : height - 4, width // 2 : width - 2] = 2
    return mask


def rgb_mask(mask: NDArray[np.uint8]) -> bytes:
    return encode(".png", np.ascontiguousarray(COLORS[mask][:, :, ::-1]))


def write_item(folder: Path, stem: str, seed: int, mask: NDArray[np.uint8] | None = None) -> None:
    """Writes images/<stem>.png and masks/<stem>.png; no two seeds look alike."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    mask = labels(seed=seed) if mask is None else mask
    (folder / "images" / f"{stem}.png").write_bytes(
        encode(".png", picture(*mask.shape, channels=1, seed=seed))
    )
    (folder / "masks" / f"{stem}.png").write_bytes(rgb_mask(mask))


def write_yaml(folder: Path, groups: dict[str, str] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "format": 1,
        "name": "tiny",
        "source": "made for a test",
        "classes": {name: list(color) for name, color in CLASSES.items()},
        "groups": groups or {},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def write_divided(folder: Path, counts: tuple[int, int, int] = (5, 3, 2)) -> Path:
    """A data set with splits of its own."""
    write_yaml(folder)
    seed = 0
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        for number in range(count):
            write_item(folder / split, f"{split}{number}", seed)
            seed += 1
    return folder


def write_undivided(folder: Path, count: int = 12) -> Path:
    """A data set that is split by us; two pictures a group."""
    write_yaml(folder, {f"p{n:02d}": f"object{n // 2}" for n in range(count)})
    for number in range(count):
        write_item(folder, f"p{number:02d}", number)
    return folder
