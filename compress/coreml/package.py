"""An .mlpackage on disk: a folder with a manifest, the model (protobuf) and its weights, laid out by coremltools."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from compress.coreml import coremltools
from runtime.backends.contract import METADATA_KEY
from runtime.errors import UserError, first_line
from runtime.files import write_bytes_atomic

CONST = "const"  # the operation that holds a plain constant
WEIGHTS_FOLDER = "Data/com.apple.CoreML/weights"
_MODEL = "Data/com.apple.CoreML/model.mlmodel"
_MAX_MODEL_BYTES = 64 << 20


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

    inputs: dict[str, TensorType]
    outputs: dict[str, TensorType]
    operations: tuple[Operation, ...]  # without constants
    stored: dict[str, int]  # numbers by the way they are stored: a float type, or the operation that unfolds them


def read_model(path: Path) -> Any:
    """Return a package's protobuf (CoreML.Specification.Model); a UserError where it is none, broken or too large."""
    model = coremltools().proto.Model_pb2.Model()
    file = path / _MODEL
    try:
        if file.stat().st_size > _MAX_MODEL_BYTES:
            raise UserError(f"{path} has a larger model than any of this project")
        model.ParseFromString(file.read_bytes())
    except OSError as error:
        raise UserError(f"{path} is no Core ML package of this project ({error.strerror}): export it again") from None
    except Exception as error:  # protobuf's DecodeError: the package comes with coremltools, which is optional
        raise UserError(f"{path}: its model is damaged ({first_line(error)}): export it again") from None
    if model.WhichOneof("Type") != "mlProgram":
        raise UserError(f"{path} holds no ML program: export it with python compress/export.py")
    return model


def read_program(path: Path) -> Program:
    """Return what a package says of its program; a UserError where it does not fit together."""
    try:
        function = read_model(path).mlProgram.functions["main"]
        if function.opset not in function.block_specializations:
            raise ValueError("it has no main function")
        block = function.block_specializations[function.opset]
        inputs = {value.name: _tensor_type(value.type) for value in function.inputs}
        made = [(op.type, {value.name: _tensor_type(value.type) for value in op.outputs}) for op in block.operations]
        types = inputs | {name: kind for _, outputs in made for name, kind in outputs.items()}
        outputs = {name: types[name] for name in block.outputs}
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: its program is damaged ({first_line(error)}): export it again") from None
    stored = Counter[str]()
    for kind, results in made:
        for result in results.values():
            if is_constant(kind) and result.dtype.startswith("fp"):
                stored[result.dtype if kind == CONST else kind] += prod(result.shape)
    return Program(
        inputs=inputs,
        outputs=outputs,
        operations=tuple(Operation(kind, tuple(results.values())) for kind, results in made if not is_constant(kind)),
        stored=dict(stored.most_common()),
    )


def embed(path: Path, facts: dict[str, Any]) -> None:
    """Put the passport into a package's metadata, replacing an earlier one."""
    model = read_model(path)
    model.description.metadata.userDefined[METADATA_KEY] = json.dumps(facts)
    write_bytes_atomic(path / _MODEL, model.SerializeToString())


def package_bytes(path: Path) -> int:
    """Add up the sizes of all files of a package."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def package_sha256(path: Path) -> str:
    """Hash the model and the weights; the manifest names them by identifiers made anew for every package."""
    digest = hashlib.sha256()
    for file in sorted((path / "Data").rglob("*")):
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


def _tensor_type(value_type: Any) -> TensorType:
    tensor = value_type.tensorType
    name = coremltools().proto.MIL_pb2.DataType.Name(tensor.dataType)
    return TensorType(name.lower().replace("float", "fp"), tuple(int(d.constant.size) for d in tensor.dimensions))
