"""Images of all kinds, good and bad."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from runtime.errors import UserError
from runtime.image.reading import as_rgb_uint8, read_image


def picture(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """(40, 50[, channels]): a red ramp to the right, a green one downwards (in OpenCV's BGR)."""
    top = np.iinfo(dtype).max
    image = np.full((40, 50, max(channels, 3)), top, dtype)
    image[..., 0] = 0
    image[..., 1] = np.linspace(0, top, 40).astype(dtype)[:, None]
    image[..., 2] = np.linspace(0, top, 50).astype(dtype)
    return image[..., 2] if channels == 1 else image[..., :channels]


def save(path: Path, image: np.ndarray, flags: tuple[int, ...] = ()) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, image, flags)[1].tobytes())
    return path


LOSSLESS_WEBP = (cv2.IMWRITE_WEBP_QUALITY, 101)
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


FORMATS = (".png", ".jpg", ".bmp", ".webp")


@pytest.mark.parametrize(
    ("suffix", "channels", "flags"),
    [(suffix, 3, ()) for suffix in FORMATS]
    + [(".webp", 3, LOSSLESS_WEBP), (".webp", 4, LOSSLESS_WEBP), (".jpg", 3, PROGRESSIVE)],
)
def test_every_format(tmp_path: Path, suffix: str, channels: int, flags: tuple[int, ...]) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", picture(channels), flags))
    assert image.dtype == np.uint8
    assert_allclose(image, picture()[..., ::-1], atol=30)  # RGB, within what JPEG loses
    assert image[20, 45, 0] > 200 > 60 > image[20, 5, 0]


def claiming(suffix: str, width: int, height: int) -> bytes:
    """A file that says it is huge."""
    content = bytearray(cv2.imencode(suffix, picture(), LOSSLESS_WEBP if suffix == ".webp" else ())[1].tobytes())
    if suffix == ".png":
        struct.pack_into(">II", content, 16, width, height)
    elif suffix == ".jpg":
        struct.pack_into(">HH", content, content.find(b"\xff\xc0") + 5, height, width)
    elif suffix == ".bmp":
        struct.pack_into("<ii", content, 18, width, -height)
    else:
        struct.pack_into("<I", content, 21, (width - 1) | (height - 1) << 14)
    return bytes(content)


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (1, np.uint16), (3, np.uint16), (4, np.uint8)])
def test_gray_alpha_and_16_bits_are_converted(tmp_path: Path, channels: int, dtype: type) -> None:
    image = read_image(save(tmp_path / "a.png", picture(channels, dtype)))
    assert image.shape == (40, 50, 3)
    assert image.dtype == np.uint8
    assert_allclose(image[0, :, 0], np.linspace(0, 255, 50), atol=1.5)
    if channels == 1:
        assert_array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("part", [0.001, 0.02, 0.5, 0.97, 0.99985])
def test_cut_short(tmp_path: Path, suffix: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    path = save(tmp_path / f"a{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part) + 2])
    with pytest.raises(UserError, match="a" + suffix) as error:
        read_image(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(16_384, 100), (100, 16_384), (16_000, 16_000)])
def test_too_large_is_seen_before_decoding(
    tmp_path: Path, suffix: str, width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    path = tmp_path / f"huge{suffix}"
    path.write_bytes(claiming(suffix, width, height))
    monkeypatch.setattr("runtime.image.reading.MAX_SIDE_PX", 16_000)
    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(UserError, match=f"{width} x {height} px are too many"):
        read_image(path)


@pytest.mark.parametrize("between", [b"\0", b"\0\1\2", b"\xff", b"\xff\0", b"\xff\xd0", b"\xff\x01"])
def test_what_cameras_put_between_a_jpegs_segments(tmp_path: Path, between: bytes) -> None:
    """OpenCV skips it; skipped otherwise here, it would hide the true size."""
    path = save(tmp_path / "a.jpg", picture())
    content, whole = path.read_bytes(), read_image(path)
    end = 4 + int.from_bytes(content[4:6], "big")  # of the first segment
    path.write_bytes(content[:end] + between + content[end:])
    assert_array_equal(read_image(path), whole)
    content = claiming(".jpg", 16_000, 16_000)
    path.write_bytes(content[:end] + between + content[end:])
    with pytest.raises(UserError, match="16000 x 16000 px are too many"):
        read_image(path)


NO_IMAGES = [b"\0", b"hello world, this is text", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xc0\0\x11\x08"]
NO_IMAGES += [b"\xff\xd8\xff" * 50, b"BM" + bytes(10), b"RIFF\x10\0\0\0WEBPxxxx" + bytes(40), b"GIF89a" + bytes(100)]
NO_IMAGES += [b"II*\0\x08\0\0\0\0\0", b"\x89PNG\r\n\x1a\n" + bytes(30)]


@pytest.mark.parametrize("content", NO_IMAGES)
def test_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.png"):
        read_image(path)
    with pytest.raises(UserError, match="too few"):
        read_image(save(path, np.zeros((100, 15, 3), np.uint8)))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    content = save(tmp_path / "a.jpg", picture()).read_bytes()
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)  # 6: turn by 90 degrees
    exif = b"Exif\0\0" + tiff
    turned = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    (tmp_path / "b.jpg").write_bytes(turned)
    assert read_image(tmp_path / "b.jpg").shape == (50, 40, 3)


def test_arrays_are_taken_as_they_come() -> None:
    rgb = picture()
    assert as_rgb_uint8(rgb) is rgb or np.shares_memory(as_rgb_uint8(rgb), rgb)
    flipped = rgb[::-1, ::-1, ::-1]
    assert as_rgb_uint8(flipped).flags["C_CONTIGUOUS"]
    assert_array_equal(as_rgb_uint8(flipped), flipped)
    assert_array_equal(as_rgb_uint8(rgb[..., 0]), np.repeat(rgb[..., :1], 3, axis=2))
    assert_array_equal(as_rgb_uint8(picture(4)), picture(4)[..., :3])
    assert_array_equal(as_rgb_uint8(picture(3, np.uint16)), picture(3, np.uint16) >> 8)


BAD_SHAPES = [(40, 40, 2), (3, 40, 40), (40,), (1, 40, 40, 3), (0, 40, 3), (1, 1, 3)]
NO_ARRAYS = [np.zeros((40, 40, 3), np.float32), np.broadcast_to(np.uint8(0), (20_000, 40, 3)), [[1, 2, 3]], None]


@pytest.mark.parametrize("array", [*(np.zeros(shape, np.uint8) for shape in BAD_SHAPES), *NO_ARRAYS])
def test_arrays_that_are_no_images(array: object) -> None:
    with pytest.raises(UserError):
        as_rgb_uint8(array)  # type: ignore[arg-type]
