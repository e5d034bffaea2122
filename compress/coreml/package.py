"""An .mlpackage on disk: a folder with a manifest, the model (protobuf) and its weights. Packages are not trusted."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.coreml.library import coremltools
from runtime.backends.contract import METADATA_KEY
from runtime.errors import UserError
from runtime.files import write_bytes_atomic

SUFFIX = ".mlpackage"
WEIGHTS = PurePosixPath("weights/weight.bin")  # beside the model
_MAX_MANIFEST_BYTES = 1 << 16
_MAX_MODEL_BYTES = 64 << 20
_MAX_WEIGHT_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Package:
    """What a package holds; the weights are mapped, not read."""

    path: Path
    model_path: Path
    model: Any  # protobuf, CoreML.Specification.Model
    weights: NDArray[np.uint8]


def read_package(path: Path) -> Package:
    """Open a package; a UserError of one line where it is none, broken, or larger than any of this project's."""
    model_path = _model_path(path)
    content = _read(model_path, path, _MAX_MODEL_BYTES)
    proto = coremltools().proto
    from google.protobuf.message import DecodeError

    model = proto.Model_pb2.Model()
    try:
        model.ParseFromString(content)
    except (DecodeError, RecursionError) as error:
        raise UserError(f"{path}: its model is damaged ({error}): export it again") from None
    if model.WhichOneof("Type") != "mlProgram":
        raise UserError(f"{path} holds no ML program: export it with python compress/export.py")
    return Package(path, model_path, model, _map_weights(model_path.parent / WEIGHTS, path))


def embed(path: Path, facts: dict[str, Any]) -> None:
    """Put the passport into a package's metadata, replacing an earlier one."""
    package = read_package(path)
    package.model.description.metadata.userDefined[METADATA_KEY] = json.dumps(facts)
    write_bytes_atomic(package.model_path, package.model.SerializeToString())


def package_bytes(path: Path) -> int:
    """Size of all files of a package."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def package_sha256(path: Path) -> str:
    """Of the model and the weights; the manifest names them by identifiers made anew for every package."""
    digest = hashlib.sha256()
    model_path = _model_path(path)
    for file in (model_path, model_path.parent / WEIGHTS):
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


def _map_weights(file: Path, package: Path) -> NDArray[np.uint8]:
    """Empty where the program has all its constants inside."""
    if not file.exists():
        return np.zeros(0, np.uint8)
    size = _check_file(file, package, _MAX_WEIGHT_BYTES)
    try:
        return np.memmap(file, np.uint8, "r") if size else np.zeros(0, np.uint8)
    except (OSError, ValueError) as error:
        raise UserError(f"{package}: {file.name} cannot be read ({error})") from error


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
