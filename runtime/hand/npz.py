"""Reading an `.npz` that is not trusted: known arrays alone, each one's shape and type checked before its data."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA takes whatever memory the file asks for
_MAX_NUMBER_BYTES = 8
_MAX_HEADER_BYTES = 4096
# numpy's own reader would compile the text.
_HEADER = re.compile(
    r"\{'descr': '(?P<type>[<>|][a-zA-Z]\d{1,5})', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(\d{1,18}, ?)*(\d{1,18})?)\), \} *\n"
)


class BadFile(Exception):
    """What is wrong with the content of a file."""


@dataclass(frozen=True)
class Member:
    """What an array has to be: kinds are numpy's letters, such as "iu" for any integer."""

    shape: tuple[int, ...]
    kinds: str
    most_bytes: int = _MAX_NUMBER_BYTES  # of one element


def read_arrays(content: bytes, members: Mapping[str, Member]) -> dict[str, NDArray[Any]]:
    """Return those of the named arrays that the archive holds; BadFile where it is damaged or holds anything else."""
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                key = entry.filename.removesuffix(".npy")
                if key not in members or key in arrays:
                    raise BadFile(f"unknown array {entry.filename[:60]!r}, or one that is there twice")
                if entry.compress_type not in _COMPRESSIONS:
                    raise BadFile(f"the array {key} is compressed by another method than deflate")
                most_bytes = math.prod(members[key].shape) * members[key].most_bytes + _MAX_HEADER_BYTES
                if entry.file_size > most_bytes:  # more is never unpacked
                    raise BadFile(f"the array {key} has more than {most_bytes} bytes")
                with archive.open(entry) as stream:
                    arrays[key] = _read_array(stream, key, members[key])
    except BadFile:
        raise
    except Exception:  # zipfile, zlib and numpy raise errors of many kinds
        raise BadFile("the zip archive is damaged or not one, or an array in it") from None
    return arrays


def _read_array(stream: Any, key: str, member: Member) -> NDArray[Any]:
    count_bytes = {b"\x93NUMPY\1\0": 2, b"\x93NUMPY\2\0": 4}[stream.read(8)]
    length = int.from_bytes(stream.read(count_bytes), "little")
    header = _HEADER.fullmatch(stream.read(length).decode("latin-1"))
    if header is None:
        raise BadFile(f"the array {key} has a damaged header")
    dtype = np.dtype(header["type"])
    shape = tuple(int(number) for number in header["shape"].split(",") if number.strip())
    if shape != member.shape:
        raise BadFile(f"{key} has shape {str(shape)[:60]}, not {member.shape}")
    if dtype.kind not in member.kinds or dtype.itemsize > member.most_bytes:
        raise BadFile(f"{key} has the unusable type {str(dtype)[:60]}")
    size_bytes = math.prod(shape) * dtype.itemsize
    data = stream.read(size_bytes + 1)  # one more than there should be, so that the zip's checksum is verified
    if len(data) != size_bytes:
        raise BadFile(f"{key} does not hold the {size_bytes} bytes that it declares")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if header["fortran"] == "True" else "C")
