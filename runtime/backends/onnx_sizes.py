"""What an ONNX file declares, looked at before an engine allocates it.

A file of a few bytes can declare a tensor of terabytes. The file is walked field by field, without building anything
from it: tensors must bring as much data as they declare, and what makes tensors of any size must say which, a small
one, in the file itself.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError

MAX_ELEMENTS = 2**28
# Operators whose inputs from this place on are sizes.
_SIZED = {"ConstantOfShape": 0, "Range": 0, "Expand": 1, "Tile": 1, "Pad": 1, "OneHot": 1, "Resize": 2, "Upsample": 1}
_REFUSED = frozenset(("Loop", "Scan", "If", "EyeLike", "RandomNormal", "RandomUniform", "Multinomial"))
_MAX_ATTRIBUTE = 2**16  # of the numbers in an operator's attributes, such as padding
_MAX_SIZES = 16  # numbers in a tensor of sizes
_MAX_TEXT_BYTES = 1000
_INT64, _FLOAT = 7, 1  # data types that sizes have
_PACKED_PER_BYTE = 2  # elements, of the smallest data type

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_INTEGER, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTEGERS = 3, 5, 8
_ATTRIBUTE_NESTED = (6, 10, 11, 22, 23)  # graphs, lists of tensors, sparse tensors
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_LOCATION = 1, 2, 8, 9, 14
_TENSOR_FLOATS, _TENSOR_INTEGERS = 4, 7
_TENSOR_DATA = (_TENSOR_FLOATS, 5, 6, _TENSOR_INTEGERS, _TENSOR_RAW, 10, 11)

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


class _BadGraph(Exception):
    """What is wrong with a model file."""


@dataclass(frozen=True)
class _Field:
    """One field of a message: `value` of an integer, or where its bytes are."""

    number: int
    value: int
    start: int
    stop: int


def check_declared_sizes(path: Path) -> None:
    """A UserError where the file is damaged, or declares more than it holds."""
    try:
        with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
            _check_model(content)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the model {path}: {error}") from None
    except _BadGraph as problem:
        raise UserError(f"cannot use the model {path}: {problem}; export it again") from None


def _check_model(content: mmap.mmap) -> None:
    sizes: dict[str, float | None] = {}  # tensor -> the product of its numbers, None where those are many
    nodes: list[tuple[str, list[str]]] = []
    for field in _fields(content, 0, len(content)):
        if field.number == _MODEL_FUNCTIONS:
            raise _BadGraph("it has functions of its own")
        if field.number == _MODEL_GRAPH:
            for part in _fields(content, field.start, field.stop):
                if part.number == _GRAPH_SPARSE:
                    raise _BadGraph("it has sparse tensors")
                if part.number == _GRAPH_INITIALIZER:
                    name, product = _check_tensor(content, part)
                    sizes[name] = product
                if part.number == _GRAPH_NODE:
                    nodes.append(_check_node(content, part, sizes))
    for operator, inputs in nodes:
        first = _SIZED.get(operator, len(inputs))
        for name in filter(None, inputs[first:]):
            product = sizes.get(name)
            if product is None or not product <= MAX_ELEMENTS:
                raise _BadGraph(f"its {operator} makes a tensor of a size that is unknown or absurd")


def _check_node(content: mmap.mmap, node: _Field, sizes: dict[str, float | None]) -> tuple[str, list[str]]:
    """The operator and its inputs; a constant's tensor is added to the sizes."""
    operator, inputs, outputs, constant = "", [], [], None
    for field in _fields(content, node.start, node.stop):
        if field.number == _NODE_TYPE:
            operator = _text(content, field)
        elif field.number == _NODE_INPUT:
            inputs.append(_text(content, field))
        elif field.number == _NODE_OUTPUT:
            outputs.append(_text(content, field))
        elif field.number == _NODE_ATTRIBUTE:
            for part in _fields(content, field.start, field.stop):
                if part.number in _ATTRIBUTE_NESTED:
                    raise _BadGraph("it has graphs within its graph")
                if part.number == _ATTRIBUTE_TENSOR:
                    _, constant = _check_tensor(content, part)
                if part.number in (_ATTRIBUTE_INTEGER, _ATTRIBUTE_INTEGERS) and any(
                    abs(number) > _MAX_ATTRIBUTE for number in _integers(content, part)
                ):
                    raise _BadGraph("it has an absurd number in an operator's attributes")
    if operator in _REFUSED:
        raise _BadGraph(f"its {operator} makes tensors of any size")
    if operator == "Constant":
        sizes.update(dict.fromkeys(outputs, constant))
    return operator, inputs


def _check_tensor(content: mmap.mmap, tensor: _Field) -> tuple[str, float | None]:
    """The name, and the product of the numbers where they may be sizes."""
    name, data_type, data_bytes = "", 0, 0
    dimensions: list[int] = []
    data: list[_Field] = []
    for field in _fields(content, tensor.start, tensor.stop):
        if field.number == _TENSOR_DIMS:
            dimensions += _integers(content, field)
        elif field.number == _TENSOR_TYPE:
            data_type = field.value
        elif field.number == _TENSOR_NAME:
            name = _text(content, field)
        elif field.number == _TENSOR_LOCATION and field.value != 0:
            raise _BadGraph("it keeps tensors in other files")
        elif field.number in _TENSOR_DATA:
            data.append(field)
            data_bytes += max(field.stop - field.start, 1)
    elements = math.prod(dimensions)
    if min(dimensions, default=0) < 0 or elements > min(_PACKED_PER_BYTE * data_bytes, MAX_ELEMENTS):
        shown = " x ".join(map(str, dimensions))[:60]
        raise _BadGraph(f"a tensor of {shown} numbers brings {data_bytes} bytes")
    if elements > _MAX_SIZES or data_type not in (_INT64, _FLOAT):
        return name, None
    return name, math.prod(max(abs(number), 1) for field in data for number in _numbers(content, field, data_type))


def _numbers(content: mmap.mmap, field: _Field, data_type: int) -> Iterator[float]:
    """Of a small tensor of 64-bit integers or floats."""
    if field.number == _TENSOR_INTEGERS:
        yield from _integers(content, field)
    elif field.number in (_TENSOR_RAW, _TENSOR_FLOATS):
        layout, width = ("<q", 8) if data_type == _INT64 else ("<f", 4)
        usable = (field.stop - field.start) // width * width
        for (number,) in struct.iter_unpack(layout, content[field.start : field.start + usable]):
            yield number


def _integers(content: mmap.mmap, field: _Field) -> list[int]:
    """Of a field that holds one integer, or many, packed."""
    if field.start == field.stop:
        return [_signed(field.value)]
    numbers = []
    position = field.start
    while position < field.stop:
        number, position = _varint(content, position, field.stop)
        numbers.append(_signed(number))
    return numbers


def _text(content: mmap.mmap, field: _Field) -> str:
    return content[field.start : min(field.stop, field.start + _MAX_TEXT_BYTES)].decode("utf-8", "replace")


def _fields(content: mmap.mmap, start: int, stop: int) -> Iterator[_Field]:
    """The fields of the message in content[start:stop]."""
    position = start
    while position < stop:
        key, position = _varint(content, position, stop)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(content, position, stop)
            yield _Field(number, value, 0, 0)
            continue
        if wire == _BYTES:
            length, position = _varint(content, position, stop)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise _BadGraph("it is damaged, or no ONNX file")
        if length > stop - position:
            raise _BadGraph("it is cut short, or no ONNX file")
        yield _Field(number, 0, position, position + length)
        position += length


def _varint(content: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    """The integer at a position, and where the next thing is."""
    number = 0
    for shift in range(0, 70, 7):
        if position >= stop:
            raise _BadGraph("it is cut short, or no ONNX file")
        byte = content[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise _BadGraph("it is damaged, or no ONNX file")


def _signed(number: int) -> int:
    """Negative integers stand as 64 bits of two's complement."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number
