"""An ML program as plain data: its operations in order, and its constants decompressed. Nothing of it is trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.coreml.blob import BlobError, read_array
from compress.coreml.decompress import DECOMPRESS
from compress.coreml.package import WEIGHTS, Package
from runtime.errors import UserError

Constant = NDArray[Any] | str

MAX_OPERATIONS = 100_000
MAX_ELEMENTS = 1 << 28  # of all constants together, and of any value
MAX_RANK = 8  # of any value; this project's own have 4
_FUNCTION = "main"
_WEIGHT_FILE = f"@model_path/{WEIGHTS}"
_DTYPES = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    21: "int8",
    22: "int16",
    23: "int32",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    34: "uint64",
    35: "uint4",
    36: "uint2",
    37: "uint1",
    38: "uint6",
    39: "uint3",
}
_NUMPY = {
    "bool": np.bool_,
    "fp16": np.float16,
    "fp32": np.float32,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
_SUB_BYTE = ("uint1", "uint2", "uint3", "uint4", "uint6")  # come out of the weight file as uint8


@dataclass(frozen=True)
class TensorType:
    """Of a value."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation; inputs are names of values or constants, by parameter."""

    kind: str
    name: str
    inputs: dict[str, tuple[str, ...]]
    outputs: dict[str, TensorType]


@dataclass(frozen=True, eq=False)
class Program:
    """The program of a package."""

    path: Path
    opset: str
    inputs: dict[str, TensorType]
    images: frozenset[str]  # inputs that are pictures, 0..255
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]  # without constants
    constants: dict[str, Constant]
    compressed: dict[str, str]  # constants that are stored compressed, with the operation that unfolds them


# What compressed weights raise whose parts do not fit together.
UNFOLD_ERRORS = (BlobError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class _BadProgram(Exception):
    """What is wrong with a program; the message is one line."""


def read_program(package: Package) -> Program:
    """The package's program; a UserError of one line where it is broken."""
    try:
        return _Reader(package).read()
    except (_BadProgram, BlobError) as problem:
        raise UserError(f"{package.path}: {problem}") from None


@dataclass
class _Reader:
    package: Package
    constants: dict[str, Constant] = field(default_factory=dict)
    compressed: dict[str, str] = field(default_factory=dict)
    elements: int = 0

    def read(self) -> Program:
        functions = self.package.model.mlProgram.functions
        if set(functions) != {_FUNCTION}:
            raise _BadProgram(f"it has not just the function '{_FUNCTION}'")
        function = functions[_FUNCTION]
        if function.opset not in function.block_specializations:
            raise _BadProgram(f"it has no block for its opset '{printable(function.opset, 20)}'")
        block = function.block_specializations[function.opset]
        if len(block.operations) > MAX_OPERATIONS:
            raise _BadProgram(f"it has {len(block.operations)} operations")
        inputs = {value.name: _tensor_type(value.type) for value in function.inputs}
        operations = [made for op in block.operations if (made := self._operation(op)) is not None]
        described = self.package.model.description.input
        return Program(
            path=self.package.path,
            opset=function.opset,
            inputs=inputs,
            images=frozenset(d.name for d in described if d.type.WhichOneof("Type") == "imageType"),
            outputs=tuple(block.outputs),
            operations=tuple(operations),
            constants=self.constants,
            compressed=self.compressed,
        )

    def _operation(self, op: Any) -> Operation | None:
        """The operation; None where it makes a constant, which is kept."""
        name = _name(op)
        if op.blocks:
            raise _BadProgram(
                f"operation '{name}' ({printable(op.type, 40)}) has blocks: control flow is not supported"
            )
        outputs = {value.name: _tensor_type(value.type) for value in op.outputs}
        if op.type == "const":
            self._keep(outputs, self._value(op.attributes["val"]) if "val" in op.attributes else None, name)
            return None
        inputs = {key: self._arguments(argument, f"{name}.{printable(key, 40)}") for key, argument in op.inputs.items()}
        if not op.type.startswith("constexpr_"):
            return Operation(op.type, name, inputs, outputs)
        self._keep(outputs, self._decompressed(op, name, inputs), name)
        self.compressed |= dict.fromkeys(outputs, op.type)
        return None

    def _arguments(self, argument: Any, where: str) -> tuple[str, ...]:
        """Names; a value written in place becomes a constant."""
        names = []
        for index, binding in enumerate(argument.arguments):
            if binding.WhichOneof("binding") == "name":
                names.append(binding.name)
                continue
            names.append(f"{where}.{index}")
            self._keep({names[-1]: _tensor_type(binding.value.type)}, self._value(binding.value), where)
        return tuple(names)

    def _keep(self, outputs: dict[str, TensorType], value: Constant | None, name: str) -> None:
        """Add a constant, once it is what its type says."""
        if len(outputs) != 1 or value is None:
            raise _BadProgram(f"constant '{name}' has no value")
        ((output, kind),) = outputs.items()
        if isinstance(value, str) != (kind.dtype == "string"):
            raise _BadProgram(f"constant '{name}' is not of its type, {kind.dtype}")
        if not isinstance(value, str):
            expected = np.uint8 if kind.dtype in _SUB_BYTE else _NUMPY[kind.dtype]
            if value.dtype != expected or value.shape != kind.shape:
                raise _BadProgram(f"constant '{name}' is {value.dtype} {value.shape}, not {kind.dtype} {kind.shape}")
        self.constants[output] = value

    def _decompressed(self, op: Any, name: str, inputs: dict[str, tuple[str, ...]]) -> NDArray[Any]:
        if op.type not in DECOMPRESS:
            raise _BadProgram(f"unknown operation '{printable(op.type, 40)}' ('{name}')")
        values = {key: self._value(value) for key, value in op.attributes.items() if key != "name"}
        for key, names in inputs.items():
            if len(names) != 1 or names[0] not in self.constants:
                raise _BadProgram(f"'{name}' ({op.type}) needs a constant {printable(key, 40)}")
            values[key] = self.constants[names[0]]
        declared = sum(prod(_tensor_type(value.type).shape) for value in op.outputs)
        self._count(declared, name)
        try:
            return DECOMPRESS[op.type](values)
        except UNFOLD_ERRORS as error:
            raise _BadProgram(f"'{name}' ({op.type}) cannot be unfolded ({printable(str(error))})") from None

    def _count(self, elements: int, name: str) -> None:
        self.elements += elements
        if self.elements > MAX_ELEMENTS:
            raise _BadProgram(f"constant '{name}' makes it larger than any program of this project")

    def _value(self, value: Any) -> Constant:
        kind = _tensor_type(value.type)
        self._count(prod(kind.shape), "of the program")
        in_file = value.WhichOneof("value") == "blobFileValue"
        if in_file and kind.dtype == "string":
            raise _BadProgram("a text lies among the weights")
        flat: Constant
        flat = self._from_file(value.blobFileValue, prod(kind.shape)) if in_file else _immediate(value, kind.dtype)
        if isinstance(flat, str):
            return flat
        if flat.size != prod(kind.shape):
            raise _BadProgram(f"a constant holds {flat.size} numbers, not {prod(kind.shape)}")
        return flat.reshape(kind.shape)

    def _from_file(self, place: Any, count: int) -> NDArray[Any]:
        if place.fileName != _WEIGHT_FILE:
            raise _BadProgram(f"weights in another file than {_WEIGHT_FILE}")
        return read_array(self.package.weights, place.offset, count)


def _immediate(value: Any, dtype: str) -> Constant:
    """Values written into the program."""
    tensor = value.immediateValue.tensor
    kind = tensor.WhichOneof("value")
    if dtype == "string":
        return str(tensor.strings.values[0]) if kind == "strings" and len(tensor.strings.values) == 1 else ""
    if kind is None or dtype not in _NUMPY:
        raise _BadProgram(f"a constant of type {dtype} has no usable value")
    if kind == "bytes":
        item = np.dtype(_NUMPY[dtype]).newbyteorder("<")
        if len(tensor.bytes.values) % item.itemsize:
            raise _BadProgram(f"a constant of type {dtype} is cut short")
        return np.frombuffer(tensor.bytes.values, item)
    if kind == "strings":
        raise _BadProgram(f"a constant of type {dtype} is a text")
    try:
        return np.array(list(getattr(tensor, kind).values), _NUMPY[dtype])  # of a list: numbers out of range raise
    except (OverflowError, ValueError):
        raise _BadProgram(f"a constant of type {dtype} holds other numbers") from None


def _tensor_type(value_type: Any) -> TensorType:
    if value_type.WhichOneof("type") != "tensorType":
        raise _BadProgram("a value is no tensor")
    tensor = value_type.tensorType
    if tensor.dataType not in _DTYPES:
        raise _BadProgram(f"a value has the unknown type {tensor.dataType}")
    if any(d.WhichOneof("dimension") != "constant" for d in tensor.dimensions):
        raise _BadProgram("a value has no static shape")
    shape = tuple(int(d.constant.size) for d in tensor.dimensions)
    if len(shape) > MAX_RANK or prod(shape) > MAX_ELEMENTS:
        raise _BadProgram("a value is larger than any of this project's")
    return TensorType(_DTYPES[tensor.dataType], shape)


def printable(text: str, longest: int = 200) -> str:
    """A text out of a package, for a message of one line."""
    return "".join(character if character.isprintable() else "?" for character in text[:longest])


def _name(op: Any) -> str:
    if "name" in op.attributes:
        values = op.attributes["name"].immediateValue.tensor.strings.values
        if values:
            return printable(values[0])
    return printable(op.outputs[0].name) if op.outputs else "?"
