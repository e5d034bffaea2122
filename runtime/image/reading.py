"""Images from outside: files and arrays -> RGB uint8 (H, W, 3).

The size stands in a file's header and is checked before anything is decoded, so that a small file cannot ask for
gigabytes. Gray becomes RGB, 16 bits become their upper 8, and an alpha channel is dropped.
"""

from __future__ import annotations

import math
import os
import struct
import threading
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import UserError
from ..files import read_regular

Rgb = NDArray[np.uint8]  # (H, W, 3)

MIN_SIDE_PX = 16
MAX_SIDE_PX = 16384
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 512 * 2**20

_FORMATS = "PNG, JPEG, BMP or WebP"
_JPEG, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# Start of frame of any coding: SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xD8)))

# An array of a larger image is made anew each time: one such picture must not keep its memory for good.
MAX_KEPT_BYTES = 64 * 2**20


class Scratch(threading.local):
    """Memory that is used again, as fresh pages for every frame cost a fifth of er-nano's time: arrays by name, each
    thread's its own. Their content is whatever was there last."""

    def __init__(self) -> None:
        self._blocks: dict[str, NDArray[np.uint8]] = {}
        self._arrays: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a contiguous array; the thread's next call with its name may give out the same memory."""
        array = self._arrays.get(name)
        if array is not None and array.shape == shape and array.dtype == dtype:
            return array
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if size_bytes > MAX_KEPT_BYTES:
            return np.empty(shape, dtype)
        block = self._blocks.get(name)
        if block is None or len(block) < size_bytes:
            block = self._blocks[name] = np.empty(size_bytes, np.uint8)
        array = self._arrays[name] = block[:size_bytes].view(dtype).reshape(shape)
        return array


def quiet_opencv() -> None:
    """Keep OpenCV from printing: what is wrong stands in the error."""
    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_image(path: str | os.PathLike[str]) -> Rgb:
    """Read a file (PNG, JPEG, BMP or WebP); JPEG's EXIF orientation is applied."""
    content = read_regular(Path(path), f"an image file ({_FORMATS})", MAX_FILE_BYTES)
    what = f"cannot use the image {path}"
    _check_size(*_header_size(content, what), what)
    decoded = _decoded(content)
    if decoded is None:
        raise UserError(f"{what}: it is damaged, or of a kind that OpenCV does not decode: save it as PNG or JPEG")
    _check_size(decoded.shape[1], decoded.shape[0], what)
    return cast(Rgb, cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _decoded(content: bytes) -> NDArray[np.uint8] | None:
    """BGR; None where the file is damaged. Old OpenCVs would give half of a JPEG that ends too soon."""
    if content.startswith(_JPEG) and content.find(_JPEG_END, content.rfind(_JPEG_SCAN)) < 0:
        return None
    try:
        # Colour: gray, palette, alpha and 16 bits are all brought to 8-bit BGR by the decoder.
        return cast("NDArray[np.uint8] | None", cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))
    except cv2.error:
        return None


def as_rgb_uint8(image: NDArray[Any], scratch: Scratch | None = None) -> Rgb:
    """An array -> RGB uint8 (H, W, 3); copied only where it has to be, into the scratch memory where there is some.

    Takes uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in RGB order, with any strides.
    """
    if not isinstance(image, np.ndarray):
        raise UserError(f"an image is a numpy array of shape (H, W, 3) and type uint8, not {type(image).__name__}")
    image = np.asarray(image)  # a subclass, such as a matrix, has rules of its own
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"an image has type uint8 (0..255), not {image.dtype}: convert it first")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise UserError(f"an image has shape (H, W, 3), not {image.shape}")
    height, width = image.shape[:2]
    _check_size(width, height, "cannot use the image")
    if image.dtype == np.uint8 and image.shape[2] == 3 and image.flags.c_contiguous:
        return image
    rgb: Rgb = (scratch or Scratch()).array("rgb", (height, width, 3), np.uint8)
    if image.dtype == np.uint16:
        np.right_shift(image[:, :, :3], 8, out=rgb, casting="unsafe")
    else:
        np.copyto(rgb, image[:, :, :3])
    return rgb


def _header_size(content: bytes, what: str) -> tuple[int, int]:
    """Return the (width, height) that a file's header states."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", content, 16)
        elif content.startswith(_JPEG):
            height, width = _jpeg_sides(content)
        elif content.startswith(b"BM"):
            (header_bytes,) = struct.unpack_from("<I", content, 14)
            width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", content, 18)
        elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            width, height = _webp_sides(content)
        else:
            raise UserError(f"{what}: it is not a {_FORMATS} file")
    except (struct.error, IndexError, ValueError):
        raise UserError(f"{what}: it is damaged or cut short; copy or save it again") from None
    return abs(width), abs(height)  # a BMP's negative height says that the rows go down


def _check_size(width: int, height: int, what: str) -> None:
    if min(width, height) < MIN_SIDE_PX:
        raise UserError(f"{what}: its {width} x {height} px are too few, each side needs {MIN_SIDE_PX}")
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        most = f"{MAX_SIDE_PX} px a side and {MAX_PIXELS // 1_000_000} megapixels"
        raise UserError(f"{what}: its {width} x {height} px are too many (at most {most}): shrink it")


def _jpeg_sides(content: bytes) -> tuple[int, int]:
    """Of the first frame. Markers are looked for as libjpeg does: what some cameras put between segments is skipped."""
    sides, position = None, len(_JPEG)
    while True:
        position = content.index(0xFF, position)
        while content[position] == 0xFF:
            position += 1
        marker = content[position]
        position += 1
        if marker == _JPEG_SCAN[1]:
            return sides or (0, 0)
        if marker in (_JPEG[1], _JPEG_END[1]):
            raise IndexError
        if marker in _JPEG_WITHOUT_LENGTH:
            continue
        if marker in _JPEG_FRAMES and sides is None:
            sides = struct.unpack_from(">HH", content, position + 3)
        position += struct.unpack_from(">H", content, position)[0]


def _webp_sides(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    (bits,) = struct.unpack_from("<I", content, 21)  # lossless; what is neither, OpenCV refuses
    return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
