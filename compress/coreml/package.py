"""An .mlpackage on disk: a folder with a manifest, the model (protobuf) and its weights. Packages are not trusted.

What a package says of its program is read from the protobuf alone; weights are read by coremltools where a program is
evaluated (evaluator.py), which is done with packages that were just written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

from compress.coreml import coremltools
from runtime.backends.contract import METADATA_KEY
from runtime.errors import UserError, first_line
from runtime.files import write_bytes_atomic

SUFFIX = ".mlpackage"
CONST = "const"  # the operation that holds a plain constant
_WEIGHTS = PurePosixPath("weights/weight.bin")  # beside the model
_WEIGHT_HEADER_BYTES = 64  # before each array in the file
_FUNCTION = "main"
_MAX_MANIFEST_BYTES = 1 << 16
_MAX_MODEL_BYTES = 64 << 20
_MAX_WEIGHT_BYTES = 1 << 30
_MAX_RANK = 8  # of any value; this project's own have 4


@dataclass(frozen=True, eq=False)
class Package:
    """The files of a package, and its model."""

    path: Path
    model_path: Path
    model: Any  # protobuf, CoreML.Specification.Model
    weight_bytes: int  # 0 where the program has all its constants inside

    @property
    def weights_path(self) -> Path:
        """The weight file, which need not exist."""
        return self.model_path.parent / _WEIGHTS


@dataclass(frozen=True)
class TensorType:
    """Type of a value, dtype as MIL writes it: fp16, int8, string."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One operation: its kind and the types of its results."""

    kind: str
    outputs: tuple[TensorType, ...]


@dataclass(frozen=True)
class Program:
    """What a package says of its program, without the values of constants."""

    opset: str
    inputs: dict[str, TensorType]
    images: frozenset[str]  # inputs that are pictures, 0..255
    outputs: dict[str, TensorType]
    operations: tuple[Operation, ...]  # without constants
    stored: dict[str, int]  # numbers by the way they are stored: a float type, or the operation that unfolds them
    compressed: int  # constants that are stored compressed


class _BadProgram(Exception):
    """What is wrong with a program; the message is one line."""


def read_package(path: Path) -> Package:
    """Open a package; a UserError of one line where it is none, broken, or larger than any of this project's."""
    model_path = _model_path(path)
    content = _read(model_path, path, _MAX_MODEL_BYTES)
    proto = coremltools().proto
    # Comes with coremltools, which is optional.
    from google.protobuf.message import DecodeError

    model = proto.Model_pb2.Model()
    try:
        model.ParseFromString(content)
    except (DecodeError, RecursionError) as error:
        raise UserError(f"{path}: its model is damaged ({first_line(error)}): export it again") from None
    if model.WhichOneof("Type") != "mlProgram":
        raise UserError(f"{path} holds no ML program: export it with python compress/export.py")
    weights = model_path.parent / _WEIGHTS
    return Package(path, model_path, model, _check_file(weights, path, _MAX_WEIGHT_BYTES) if weights.exists() else 0)


def read_program(package: Package) -> Program:
    """Return what the package says of its program; a UserError of one line where it does not fit together."""
    try:
        return _program(package)
    except _BadProgram as problem:
        raise UserError(f"{package.path}: {problem}") from None


def embed(path: Path, facts: dict[str, Any]) -> None:
    """Put the passport into a package's metadata, replacing an earlier one."""
    package = read_package(path)
    package.model.description.metadata.userDefined[METADATA_KEY] = json.dumps(facts)
    write_bytes_atomic(package.model_path, package.model.SerializeToString())


def package_bytes(path: Path) -> int:
    """Add up the sizes of all files of a package."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def package_sha256(path: Path) -> str:
    """Hash the model and the weights; the manifest names them by identifiers made anew for every package."""
    digest = hashlib.sha256()
    model_path = _model_path(path)
    for file in (model_path, model_path.parent / _WEIGHTS):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def replace_package(source: Path, target: Path) -> None:
    """Move a finished package to `target`, replacing one that is there: folders cannot be replaced in one step."""
    aside = target.with_name(f".{target.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        target.replace(aside)
    try:
        source.replace(target)
    except OSError:
        if aside.exists():
            aside.replace(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def is_constant(kind: str) -> bool:
    """Whether an operation holds a constant, plain or compressed."""
    return kind == CONST or kind.startswith("constexpr_")


def printable(text: str, longest: int = 200) -> str:
    """Make a text out of a package fit for a message of one line."""
    return "".join(character if character.isprintable() else "?" for character in text[:longest])


def _model_path(path: Path) -> Path:
    """The model file that the manifest names, which must lie inside the package."""
    if not path.is_dir():
        raise UserError(f"{path} is no package: a Core ML package is a folder that ends in {SUFFIX}")
    try:
        manifest = json.loads(_read(path / "Manifest.json", path, _MAX_MANIFEST_BYTES))
        name = PurePosixPath(manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UserError(f"{path}: its manifest names no model: export it again") from None
    if name.is_absolute() or ".." in name.parts:
        raise UserError(f"{path}: its manifest points outside of the package")
    return path / "Data" / name


def _read(file: Path, package: Path, max_bytes: int) -> bytes:
    _check_file(file, package, max_bytes)
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{package}: {file.name} cannot be read ({error.strerror})") from error


def _check_file(file: Path, package: Path, max_bytes: int) -> int:
    """Its size, once it is known to be a file inside the package and small enough."""
    try:
        inside = file.resolve().is_relative_to(package.resolve())
        size = file.stat().st_size
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
        raise UserError(f"{package} lacks {file.name} or it cannot be read: export it again") from error
    if not inside or not file.is_file():
        raise UserError(f"{package}: {file.name} is not a file of the package")
    if size > max_bytes:
        raise UserError(f"{package}: {file.name} has {size} bytes, more than any package of this project")
    return size


def _program(package: Package) -> Program:
    functions, description = package.model.mlProgram.functions, package.model.description
    if set(functions) != {_FUNCTION}:
        raise _BadProgram(f"it has not just the function '{_FUNCTION}'")
    function = functions[_FUNCTION]
    if function.opset not in function.block_specializations:
        raise _BadProgram(f"it has no block for its opset '{printable(function.opset, 20)}'")
    block = function.block_specializations[function.opset]
    inputs = {value.name: _tensor_type(value.type) for value in function.inputs}
    types, operations, stored, compressed = dict(inputs), [], Counter[str](), 0
    for op in block.operations:
        if op.blocks:
            raise _BadProgram(f"operation '{printable(op.type, 40)}' has blocks: control flow is not supported")
        for value in op.attributes.values():
            _check_place(value, package.weight_bytes)
        made = {value.name: _tensor_type(value.type) for value in op.outputs}
        types |= made
        if not is_constant(op.type):
            operations.append(Operation(op.type, tuple(made.values())))
            continue
        compressed += op.type != CONST
        for kind in made.values():
            if kind.dtype.startswith("fp"):
                stored[kind.dtype if op.type == CONST else op.type] += prod(kind.shape)
    if missing := [name for name in block.outputs if name not in types]:
        raise _BadProgram(f"nothing makes its output '{printable(missing[0], 60)}'")
    return Program(
        opset=function.opset,
        inputs=inputs,
        images=frozenset(given.name for given in description.input if given.type.WhichOneof("Type") == "imageType"),
        outputs={name: types[name] for name in block.outputs},
        operations=tuple(operations),
        stored=dict(stored.most_common()),
        compressed=compressed,
    )


def _check_place(value: Any, weight_bytes: int) -> None:
    """A value in the weight file lies in it whole; a file that was cut short is found without reading it."""
    if value.WhichOneof("value") != "blobFileValue":
        return
    place, kind = value.blobFileValue, _tensor_type(value.type)
    if place.fileName != f"@model_path/{_WEIGHTS}":
        raise _BadProgram(f"weights in another file than {_WEIGHTS}")
    bits = int("".join(filter(str.isdigit, kind.dtype)) or 8)
    if place.offset + _WEIGHT_HEADER_BYTES + -(-prod(kind.shape) * bits // 8) > weight_bytes:
        raise _BadProgram("its weights are missing or cut short: export it again")


def _tensor_type(value_type: Any) -> TensorType:
    if value_type.WhichOneof("type") != "tensorType":
        raise _BadProgram("a value is no tensor")
    tensor = value_type.tensorType
    try:
        name = coremltools().proto.MIL_pb2.DataType.Name(tensor.dataType)
    except ValueError:
        raise _BadProgram(f"a value has the unknown type {tensor.dataType}") from None
    if len(tensor.dimensions) > _MAX_RANK:
        raise _BadProgram(f"a value has {len(tensor.dimensions)} dimensions, more than any of this project's")
    if any(side.WhichOneof("dimension") != "constant" for side in tensor.dimensions):
        raise _BadProgram("a value has no static shape")
    shape = tuple(int(side.constant.size) for side in tensor.dimensions)
    return TensorType(name.lower().replace("float", "fp"), shape)
