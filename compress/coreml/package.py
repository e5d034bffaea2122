"""An .mlpackage on disk: a folder with a manifest, the model (protobuf) and its weights, laid out by coremltools.

What may leave the Neural Engine is said by rules that others have found; only a device knows (docs/iphone.md).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from compress.coreml import coremltools, quiet
from runtime.backends.contract import METADATA_KEY
from runtime.errors import UserError, first_line
from runtime.files import write_bytes_atomic

CONST = "const"  # the operation that holds a plain constant
WEIGHTS_FOLDER = "Data/com.apple.CoreML/weights"
_MODEL = "Data/com.apple.CoreML/model.mlmodel"
_MAX_MODEL_BYTES = 64 << 20

MAX_RANK = 4  # of this project's graphs
RULE_OF_KIND = {
    **dict.fromkeys(("resample", "crop_resize", "affine"), "sampling at coordinates"),  # coremltools' issues 1875, 2299
    **dict.fromkeys(("gather", "gather_along_axis", "gather_nd"), "gathering by index"),  # its issue 1103
    **dict.fromkeys(("topk", "argsort"), "sorting"),  # github.com/roboflow/rf-detr/pull/1495
}
RANK_RULE = f"rank above {MAX_RANK}"  # machinelearning.apple.com/research/neural-engine-transformers
FP32_RULE = "fp32 arithmetic"  # coremltools' guide, typed execution


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


def read_function(path: Path) -> Any:
    """Return a package's program as coremltools' own MIL function; a UserError where it does not fit together."""
    model = read_model(path)
    # Imported last: coremltools is optional.
    from coremltools.converters.mil.frontend.milproto.load import load

    try:
        with quiet():
            program = load(model, model.specificationVersion, file_weights_dir=str(path / WEIGHTS_FOLDER))
            return program.functions["main"]
    except Exception as error:  # its reader has no class of its own
        raise UserError(f"{path}: its program cannot be read ({first_line(error)}): export it again") from None


def computing(function: Any) -> list[Any]:
    """Return the operations of a MIL function that compute: all but constants."""
    return [op for op in function.operations if not is_constant(op.op_type)]


def dtype_of(value: Any) -> str:
    """Return a MIL value's type: fp16, int32, string."""
    # Imported last: coremltools is optional.
    from coremltools.converters.mil.mil import types

    return str(types.builtin_to_string(value.dtype))


def leaving(function: Any) -> dict[str, dict[str, int]]:
    """What of a MIL function may leave the Neural Engine: by rule, how many operations of each kind."""
    found: dict[str, Counter[str]] = {}
    for operation in computing(function):
        kind, made = operation.op_type, operation.outputs
        rules = {
            RULE_OF_KIND.get(kind, ""): kind in RULE_OF_KIND,
            RANK_RULE: any(value.rank > MAX_RANK for value in made),
            FP32_RULE: any(dtype_of(value) == "fp32" for value in made),
        }
        for rule in (rule for rule, applies in rules.items() if applies):
            found.setdefault(rule, Counter())[kind] += 1
    return {rule: dict(kinds.most_common()) for rule, kinds in found.items()}


def embed(path: Path, facts: dict[str, Any]) -> None:
    """Put the passport into a package's metadata, replacing an earlier one."""
    model = read_model(path)
    model.description.metadata.userDefined[METADATA_KEY] = json.dumps(facts)
    write_bytes_atomic(path / _MODEL, model.SerializeToString())


def size_bytes(path: Path) -> int:
    """The size of a file, or of all files of a package."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


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
