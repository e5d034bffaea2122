"""The weight file of an ML program: arrays at offsets, each behind 64 bytes that say its type and where it lies.

The layout is that of coremltools' MILBlob (mlmodel/src/MILBlob/Blob/StorageFormat.hpp), version 2. The file is not
trusted: every offset and size is checked before bytes are taken.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_ENTRY = struct.Struct("<IIQQQ")  # sentinel, type, bytes, offset of the data, unused bits of the last byte
_ENTRY_BYTES = 64
_CHUNK = 1 << 16  # numbers unpacked at once: eight times as many bytes are needed for a moment
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_TYPES = {
    1: np.float16,
    2: np.float32,
    3: np.uint8,
    4: np.int8,
    6: np.int16,
    7: np.uint16,
    14: np.int32,
    15: np.uint32,
}
_SUB_BYTE_BITS = {9: 1, 10: 2, 12: 3, 11: 4, 13: 6}  # unsigned


class BlobError(Exception):
    """What is wrong with a weight file; the message is one line."""


def read_array(content: NDArray[np.uint8], offset: int, count: int) -> NDArray[np.generic]:
    """The flat array of `count` numbers whose entry starts at `offset`; those of less than 8 bits come out as uint8."""
    _check_header(content)
    if not 0 <= offset <= len(content) - _ENTRY_BYTES:
        raise BlobError(f"offset {offset} lies outside the weights")
    sentinel, kind, size, start, unused_bits = _ENTRY.unpack(content[offset : offset + _ENTRY.size].tobytes())
    if sentinel != _SENTINEL:
        raise BlobError(f"no array starts at offset {offset}")
    if start + size > len(content) or unused_bits > 7:
        raise BlobError(f"the array at offset {offset} reaches beyond the weights")
    data = content[start : start + size]
    if kind in _SUB_BYTE_BITS:
        bits = _SUB_BYTE_BITS[kind]
        _check_count((8 * size - unused_bits) // bits, count, offset)
        return unpack(data, bits, count)
    if kind not in _TYPES:
        raise BlobError(f"the array at offset {offset} has the unknown type {kind}")
    dtype = np.dtype(_TYPES[kind]).newbyteorder("<")
    if size % dtype.itemsize:
        raise BlobError(f"the array at offset {offset} is cut short")
    _check_count(size // dtype.itemsize, count, offset)
    return np.frombuffer(data.tobytes(), dtype)


def unpack(data: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """`count` unsigned integers of `bits` bits, 1 to 8, packed from the lowest bit of the first byte on."""
    if not 1 <= bits <= 8 or count < 0:
        raise BlobError(f"{count} numbers of {bits} bits are not packed that way")
    if len(data) * 8 < count * bits:
        raise BlobError(f"{len(data)} bytes do not hold {count} numbers of {bits} bits")
    numbers = np.empty(count, np.uint8)
    for start in range(0, count, _CHUNK):
        part = numbers[start : start + _CHUNK]
        packed = data[start * bits // 8 : -(-(start + len(part)) * bits // 8)]
        planes = np.unpackbits(packed, bitorder="little")[: len(part) * bits].reshape(-1, bits)
        part[:] = np.packbits(planes, axis=1, bitorder="little").reshape(-1)
    return numbers


def _check_count(found: int, declared: int, offset: int) -> None:
    if found != declared:
        raise BlobError(f"the array at offset {offset} holds {found} numbers, not {declared}")


def _check_header(content: NDArray[np.uint8]) -> None:
    if len(content) < _ENTRY_BYTES:
        raise BlobError("the program's weights are missing or cut short")
    _, version = struct.unpack("<II", content[:8].tobytes())
    if version != _VERSION:
        raise BlobError(f"the weights have version {version}, not {_VERSION}")
