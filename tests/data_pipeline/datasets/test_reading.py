from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.datasets import reading
from data_pipeline.datasets.headers import parse_header
from data_pipeline.datasets.reading import read_image
from data_pipeline.problems import BadFileError
from tests.data_pipeline.files import cmyk_jpeg, encode, exif, picture, png, tiff, with_exif

GREY = picture(channels=1)
COLOR = picture()
RGB = np.ascontiguousarray(COLOR[:, :, ::-1])


def read(tmp_path: Path, data: bytes, channels: int = 3) -> np.ndarray:
    path = tmp_path / "image"
    path.write_bytes(data)
    return read_image(path, channels)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(".png", COLOR), id="png"),
        pytest.param(encode(".bmp", COLOR), id="bmp"),
        pytest.param(encode(".tif", COLOR), id="tif"),
        pytest.param(tiff(RGB), id="tif uncompressed"),
        pytest.param(png(RGB, 2, 8), id="png by hand"),
        pytest.param(encode(".png", COLOR.astype(np.uint16) * 257), id="png 16 bit"),
        pytest.param(encode(".tif", COLOR.astype(np.uint16) * 257), id="tif 16 bit"),
        pytest.param(encode(".png", np.dstack([COLOR, np.full((24, 32), 255, np.uint8)])),
                     id="png opaque alpha"),
        pytest.param(encode(".tif", np.dstack([COLOR, np.full((24, 32), 255, np.uint8)])),
                     id="tif opaque alpha"),
    ],
)  # fmt: skip
def test_lossless_colour_is_read_exactly(tmp_path: Path, data: bytes) -> None:
    np.testing.assert_array_equal(read(tmp_path, data), RGB)
    luma = RGB @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read(tmp_path, data, 1)[:, :, 0] - luma).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(".png", GREY), id="png"),
        pytest.param(encode(".bmp", GREY), id="bmp"),
        pytest.param(encode(".tif", GREY), id="tif"),
        pytest.param(tiff(GREY[:, :, 0]), id="tif uncompressed"),
        pytest.param(encode(".png", GREY.astype(np.uint16) * 257), id="16 bit"),
        pytest.param(png(np.dstack([GREY, np.full_like(GREY, 255)]), 4, 8), id="opaque alpha"),
    ],
)
def test_lossless_grey_is_read_exactly(tmp_path: Path, data: bytes) -> None:
    np.testing.assert_array_equal(read(tmp_path, data, 1), GREY)
    np.testing.assert_array_equal(read(tmp_path, data, 3), np.repeat(GREY, 3, axis=2))


def test_16_bit_is_scaled_by_its_full_range(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 32768, 65406, 65407, 65535]], np.uint16)
    read_back = read(tmp_path, encode(".png", values), 1)[:, :, 0]
    np.testing.assert_array_equal(read_back, np.rint(values / 257))


def test_palette_is_expanded(tmp_path: Path) -> None:
    numbers = np.arange(24 * 32).reshape(24, 32) % 4
    palette = np.array([[10, 20, 30], [200, 100, 0], [0, 255, 9], [7, 7, 7]], np.uint8)
    data = png(numbers, 3, 2, PLTE=palette.tobytes())
    np.testing.assert_array_equal(read(tmp_path, data), palette[numbers])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_span_the_whole_range(tmp_path: Path, bits: int) -> None:
    values = np.arange(24 * 32).reshape(24, 32) % 2**bits
    expected = values * 255 // (2**bits - 1)
    np.testing.assert_array_equal(read(tmp_path, png(values, 0, bits), 1)[:, :, 0], expected)


STORED = {  # how a camera stores an upright picture under each orientation (Exif 2.32, 4.6.4)
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation_is_applied(
    tmp_path: Path, orientation: int, channels: int, order: str
) -> None:
    stored = np.ascontiguousarray(STORED[orientation](COLOR))
    data = with_exif(encode(".jpg", stored), orientation, order)
    found = read(tmp_path, data, channels)
    flag = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), flag).reshape(found.shape)
    np.testing.assert_array_equal(found, by_opencv)
    upright = read(tmp_path, encode(".png", COLOR), channels)
    assert np.abs(found.astype(int) - upright).mean() < 8


def test_exif_orientation_of_a_png_is_applied(tmp_path: Path) -> None:
    stored = np.ascontiguousarray(np.rot90(RGB, 1))
    np.testing.assert_array_equal(read(tmp_path, png(stored, 2, 8, eXIf=exif(6))), RGB)


WHOLE = {
    ".jpg": encode(".jpg", COLOR),
    ".png": encode(".png", COLOR),
    ".bmp": encode(".bmp", COLOR),
    ".tif": encode(".tif", COLOR),
    "tiff by hand": tiff(RGB),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    whole = WHOLE[kind]
    read(tmp_path, whole)
    with pytest.raises(BadFileError):
        read(tmp_path, whole[: int(len(whole) * share)])


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_tail_of_zeros_is_refused(tmp_path: Path, kind: str) -> None:
    """As a download leaves that reserved its space and was cut off."""
    whole = WHOLE[kind]
    half = len(whole) // 2
    with pytest.raises(BadFileError):
        read(tmp_path, whole[:half] + bytes(len(whole) - half))


def test_jpeg_end_marker_of_a_thumbnail_does_not_count(tmp_path: Path) -> None:
    thumbnail = encode(".jpg", picture(8, 8))
    payload = b"Exif\0\0" + exif(1) + thumbnail
    whole = WHOLE[".jpg"]
    data = whole[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + whole[2:]
    read(tmp_path, data)
    with pytest.raises(BadFileError, match="truncated"):
        read(tmp_path, data[:-20])


def test_progressive_jpeg_is_read_and_its_truncation_refused(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", COLOR, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert read(tmp_path, data).shape == RGB.shape
    with pytest.raises(BadFileError, match="truncated"):
        read(tmp_path, data[: len(data) // 2])


def test_a_changed_byte_in_a_png_is_refused(tmp_path: Path) -> None:
    data = bytearray(WHOLE[".png"])
    data[len(data) // 2] ^= 1
    with pytest.raises(BadFileError, match="checksum"):
        read(tmp_path, bytes(data))


TRANSPARENT = np.dstack([COLOR, np.full((24, 32), 255, np.uint8)])
TRANSPARENT[3, 4, 3] = 254


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"GIF89a" + bytes(40), "expected a jpg, png, bmp or tif", id="gif"),
        pytest.param(cmyk_jpeg(), "CMYK", id="cmyk jpeg"),
        pytest.param(tiff(picture(channels=4), tag262=5), "CMYK", id="cmyk tiff"),
        pytest.param(encode(".png", TRANSPARENT), "transparent", id="png alpha"),
        pytest.param(encode(".tif", TRANSPARENT), "transparent", id="tif alpha"),
        pytest.param(encode(".bmp", TRANSPARENT), "transparent", id="bmp alpha"),
        pytest.param(png(np.zeros((4, 4)), 3, 8, PLTE=b"abcdef", tRNS=b"\0"), "transparent",
                     id="palette alpha"),
        pytest.param(png(RGB, 2, 8, acTL=bytes(8)), "animated", id="animated png"),
        pytest.param(encode(".tif", COLOR.astype(np.float32)), "floating", id="float tiff"),
        pytest.param(tiff(RGB, tag274=6), "orientation 6", id="turned tiff"),
        pytest.param(tiff(RGB, tag284=2), "planes", id="planar tiff"),
        pytest.param(tiff(GREY[:, :, 0], tag262=0), "photometric", id="inverted tiff"),
        pytest.param(encode(".png", GREY.astype(np.uint16) * 16), "value is 4080",
                     id="12 bit in 16"),
        pytest.param(cv2.imencodemulti(".tif", [COLOR, COLOR])[1].tobytes(), "several pages",
                     id="two pages"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_what_could_be_read_wrong_is_refused(
    tmp_path: Path, data: bytes, reason: str, channels: int
) -> None:
    with pytest.raises(BadFileError, match=reason):
        read(tmp_path, data, channels)


def test_opencv_alone_would_read_cmyk(tmp_path: Path) -> None:
    """So that the refusal above is of a real file, not of a broken one."""
    assert cv2.imdecode(np.frombuffer(cmyk_jpeg(), np.uint8), cv2.IMREAD_COLOR) is not None


def test_unreadable_path(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="No such file"):
        read_image(tmp_path / "none.png", 1)


@pytest.mark.parametrize("kind", WHOLE)
def test_no_prefix_of_a_header_raises_anything_else(kind: str) -> None:
    whole = WHOLE[kind]
    for length in range(min(len(whole), 400)):
        with pytest.raises(BadFileError):
            parse_header(whole[:length])


def test_random_damage_never_raises_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for data in WHOLE.values():
        for _ in range(40):
            broken = bytearray(data)
            for position in rng.integers(2, min(len(data), 300), 4):
                broken[position] = rng.integers(256)
            try:
                assert read(tmp_path, bytes(broken)).dtype == np.uint8
            except BadFileError:
                continue


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_file_is_decoded_from_the_disk_to_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, channels: int
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(suffix, picture(300, 40)))
    before = reading.read_image(path, channels)
    monkeypatch.setattr(reading, "LARGE", 100)

    assert (reading.read_image(path, channels) == before).all()
    assert reading.read_size(path) == (300, 40)


def test_more_pixels_than_opencv_decodes_are_refused_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(".png", picture(30, 40)))
    monkeypatch.setattr(reading, "MOST_PIXELS", 1000)

    with pytest.raises(BadFileError, match=r"at most 1,000 pixels.*received 30 x 40"):
        reading.read_image(path, 1)
