"""Images from outside: files and arrays -> RGB uint8 (H, W, 3).

The size stands in a file's header and is checked before anything is decoded, so that a small file cannot ask for
gigabytes. Gray becomes RGB, 16 bits become their upper 8, and an alpha channel is dropped.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError
from runtime.files import read_regular
from runtime.image.scratch import Scratch

Rgb = NDArray[np.uint8]  # (H, W, 3)

MIN_SIDE_PX = 16
MAX_SIDE_PX = 16384
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 512 * 2**20

_FORMATS = "PNG, JPEG, BMP, WebP or TIFF"
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_START_OF_SCAN = 0xDA
# Start of frame of any coding: SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))
_TIFF_SIDES, _TIFF_TYPES = (256, 257), {3: "H", 4: "I"}


class _BadImage(Exception):
    """What is wrong with an image file."""


def quiet_opencv() -> None:
    """Keep OpenCV from printing: what is wrong stands in the error."""
    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_image(path: str | os.PathLike[str]) -> Rgb:
    """Read a file (PNG, JPEG, BMP, WebP or TIFF); JPEG's EXIF orientation is applied."""
    content = read_regular(Path(path), f"an image file ({_FORMATS})", MAX_FILE_BYTES)
    try:
        width, height = header_size(content)
        _check_size(width, height)
        try:
            # Colour: gray, palette, alpha and 16 bits are all brought to 8-bit BGR by the decoder.
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            decoded = None
        if decoded is None:
            raise _BadImage("it is damaged, or of a kind that OpenCV does not decode: save it again as PNG or JPEG")
        _check_size(decoded.shape[1], decoded.shape[0])
    except _BadImage as problem:
        raise UserError(f"cannot use the image {path}: {problem}") from None
    return cast(Rgb, cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def as_rgb_uint8(image: NDArray[Any], scratch: Scratch | None = None) -> Rgb:
    """An array -> RGB uint8 (H, W, 3); copied only where it has to be, into the scratch memory where there is some.

    Takes uint8 or uint16 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), in RGB order, with any strides.
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
    try:
        _check_size(width, height)
    except _BadImage as problem:
        raise UserError(f"cannot use the image: {problem}") from None
    if image.dtype == np.uint8 and image.shape[2] == 3 and image.flags.c_contiguous:
        return image
    rgb: Rgb = (scratch or Scratch()).array("rgb", (height, width, 3), np.uint8)
    if image.dtype == np.uint16:
        np.right_shift(image[:, :, :3], 8, out=rgb, casting="unsafe")
    else:
        np.copyto(rgb, image[:, :, :3])
    return rgb


def header_size(content: bytes) -> tuple[int, int]:
    """Return the (width, height) that a file's header states; also sees whether a PNG, JPEG or WebP is cut short."""
    try:
        if content.startswith(_PNG):
            return _png_size(content)
        if content.startswith(_JPEG):
            return _jpeg_size(content)
        if content.startswith(b"BM"):
            (header_bytes,) = struct.unpack_from("<I", content, 14)
            width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", content, 18)
            return abs(width), abs(height)  # a negative height says that the rows go down
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return _webp_size(content)
        if content.startswith((b"II*\0", b"MM\0*")):
            return _tiff_size(content)
    except (struct.error, IndexError):
        raise _BadImage("it is damaged or cut short; copy or save it again") from None
    raise _BadImage(f"it is not a {_FORMATS} file")


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE_PX:
        raise _BadImage(f"its {width} x {height} px are too few, each side needs {MIN_SIDE_PX}")
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        most = f"{MAX_SIDE_PX} px a side and {MAX_PIXELS // 1_000_000} megapixels"
        raise _BadImage(f"its {width} x {height} px are too many (at most {most}): shrink it")


def _png_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", content, 16)
    kind, position = b"", len(_PNG)
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, position)
        position += 12 + length
    if position > len(content):
        raise IndexError
    return width, height


def _jpeg_size(content: bytes) -> tuple[int, int]:
    size, position = None, len(_JPEG)
    while (marker := content[position + 1]) != _JPEG_START_OF_SCAN:
        if content[position] != 0xFF or marker in _JPEG_WITHOUT_LENGTH:  # a decoder would look for the next one
            raise IndexError
        (length,) = struct.unpack_from(">H", content, position + 2)
        if marker in _JPEG_FRAMES and size is None:
            size = struct.unpack_from(">HH", content, position + 5)
        position += 1 if marker == 0xFF else 2 + length  # 0xFF is padding
    # In scans 0xFF is followed by 0 or by a marker, so the end marker stands there only at the end.
    if size is None or content.find(_JPEG_END, position) < 0:
        raise IndexError
    return size[1], size[0]


def _webp_size(content: bytes) -> tuple[int, int]:
    (riff_bytes,) = struct.unpack_from("<I", content, 4)
    if riff_bytes + 8 > len(content):
        raise IndexError
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    (bits,) = struct.unpack_from("<I", content, 21)  # lossless; what is neither, OpenCV refuses
    return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)


def _tiff_size(content: bytes) -> tuple[int, int]:
    order = "<" if content.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, directory)
    largest = dict.fromkeys(_TIFF_SIDES, 0)  # whichever of two entries the decoder would believe
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", content, entry)
        if tag in largest and kind in _TIFF_TYPES:
            (value,) = struct.unpack_from(f"{order}{_TIFF_TYPES[kind]}", content, entry + 8)
            largest[tag] = max(value, largest[tag])
    return largest[_TIFF_SIDES[0]], largest[_TIFF_SIDES[1]]
