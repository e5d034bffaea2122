"""The weight file: what coremltools writes is read exactly, and nothing that is damaged gets further than an error."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compress.coreml.blob import BlobError, read_array, unpack
from compress.coreml.library import coremltools

HEADER = struct.pack("<II", 1, 2) + bytes(56)
FLOAT16, FLOAT32, UINT8, INT8, INT32, UINT6 = 1, 2, 3, 4, 14, 13


def entry(kind: int, data: bytes, size: int | None = None, unused_bits: int = 0, sentinel: int = 0xDEADBEEF) -> bytes:
    """An array behind its 64 bytes, at offset 64 of a file."""
    size = len(data) if size is None else size
    return struct.pack("<IIQQQ", sentinel, kind, size, 128, unused_bits) + bytes(32) + data


def blob(*parts: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(HEADER + b"".join(parts), np.uint8)


def packed(numbers: list[int], bits: int) -> bytes:
    """The format's definition: one number after the other, from the lowest bit on."""
    whole = sum(number << (bits * place) for place, number in enumerate(numbers))
    return whole.to_bytes(-(-len(numbers) * bits // 8), "little")


@pytest.mark.parametrize(
    ("kind", "dtype"), [(FLOAT16, "<f2"), (FLOAT32, "<f4"), (UINT8, "u1"), (INT8, "i1"), (INT32, "<i4")]
)
def test_plain_arrays(kind: int, dtype: str) -> None:
    values = np.array([0, 1, 100, 3], dtype)
    found = read_array(blob(entry(kind, values.tobytes())), 64, 4)
    assert found.dtype == values.dtype and np.array_equal(found, values)


@given(st.data(), st.sampled_from([1, 2, 3, 4, 6]))
def test_small_integers(data: st.DataObject, bits: int) -> None:
    numbers = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1, max_size=50))
    content = packed(numbers, bits)
    assert unpack(np.frombuffer(content, np.uint8), bits, len(numbers)).tolist() == numbers
    kind = {1: 9, 2: 10, 3: 12, 4: 11, 6: 13}[bits]
    unused = 8 * len(content) - bits * len(numbers)
    assert read_array(blob(entry(kind, content, unused_bits=unused)), 64, len(numbers)).tolist() == numbers


def test_many_small_integers() -> None:
    numbers = np.random.default_rng(0).integers(0, 64, 200_001)  # more than are unpacked at once
    content = np.frombuffer(packed(numbers.tolist(), 6), np.uint8)
    assert np.array_equal(unpack(content, 6, len(numbers)), numbers)


@pytest.mark.parametrize(
    ("write", "dtype", "highest"),
    [
        ("write_float_data", "f4", None),
        ("write_fp16_data", "f2", None),
        ("write_uint8_data", "u1", 255),
        ("write_int8_data", "i1", 127),
        ("write_uint16_data", "u2", 65535),
        ("write_int16_data", "i2", 32767),
        ("write_int32_data", "i4", 1 << 30),
        ("write_uint32_data", "u4", 1 << 31),
        ("write_uint1_data", "u1", 1),
        ("write_uint2_data", "u1", 3),
        ("write_uint3_data", "u1", 7),
        ("write_uint4_data", "u1", 15),
        ("write_uint6_data", "u1", 63),
    ],
)
def test_what_coremltools_writes_is_read(write: str, dtype: str, highest: int | None, tmp_path: Path) -> None:
    coremltools()
    from coremltools.converters.mil.mil.types import type_mapping
    from coremltools.libmilstoragepython import _BlobStorageWriter

    rng, count = np.random.default_rng(0), 37
    values = rng.normal(size=count) if highest is None else rng.integers(0, highest + 1, count)
    values = values.astype(dtype)
    bits = write.removeprefix("write_").removesuffix("_data")
    given = values.view(np.uint16) if dtype == "f2" else values
    if bits in ("uint1", "uint2", "uint3", "uint4", "uint6"):
        given = values.astype(type_mapping.nptype_from_builtin(type_mapping.string_to_builtin(bits)))
    writer = _BlobStorageWriter(str(tmp_path / "weight.bin"))
    offsets = [getattr(writer, write)(given), writer.write_float_data(np.ones(5, np.float32))]
    del writer
    content = np.fromfile(tmp_path / "weight.bin", np.uint8)
    found = read_array(content, offsets[0], count)
    assert found.dtype == values.dtype and np.array_equal(found, values)
    assert np.array_equal(read_array(content, offsets[1], 5), np.ones(5))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (np.zeros(0, np.uint8), "missing or cut short"),
        (blob()[:63], "missing or cut short"),
        (np.frombuffer(struct.pack("<II", 1, 9) + bytes(200), np.uint8), "version 9, not 2"),
        (blob(), "outside the weights"),
        (blob(entry(FLOAT16, bytes(8), sentinel=7)), "no array starts"),
        (blob(entry(FLOAT16, bytes(8), size=1 << 62)), "beyond the weights"),
        (blob(entry(UINT6, bytes(8), unused_bits=8)), "beyond the weights"),
        (blob(entry(99, bytes(8))), "unknown type 99"),
        (blob(entry(FLOAT32, bytes(7))), "cut short"),
        (blob(entry(FLOAT16, bytes(6))), "holds 3 numbers, not 4"),
        (blob(entry(UINT6, bytes(6))), "holds 8 numbers, not 4"),
    ],
)
def test_what_is_wrong_is_said(content: NDArray[np.uint8], says: str) -> None:
    with pytest.raises(BlobError, match=says) as raised:
        read_array(content, 64, 4)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("bits", "count"), [(0, 1), (9, 1), (6, -1), (6, 100)])
def test_unpacking_what_is_not_there(bits: int, count: int) -> None:
    with pytest.raises(BlobError):
        unpack(np.zeros(8, np.uint8), bits, count)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(-10, 1 << 64), st.integers(0, 1 << 40))
def test_any_bytes_give_an_array_or_an_error(content: bytes, offset: int, count: int) -> None:
    try:
        assert len(read_array(np.frombuffer(content, np.uint8), offset, count)) == count
    except BlobError as error:
        assert "\n" not in str(error)


@settings(max_examples=300)
@given(st.integers(0, 191), st.integers(0, 255), st.integers(0, 70), st.integers(0, 130))
def test_any_changed_byte_gives_an_array_or_an_error(place: int, value: int, offset: int, count: int) -> None:
    content = blob(entry(UINT6, bytes(range(64)))).copy()
    content[place] = value
    try:
        assert len(read_array(content, offset, count)) == count
    except BlobError as error:
        assert "\n" not in str(error)
