"""The passport of a TensorRT engine file, beside it as JSON: what it was built from, and what it is bound to.

An engine runs only where it was built: same TensorRT, same GPU generation, same platform. TensorRT trusts an engine as
it trusts code, so load only engines that you built; the passport guards against mistakes, not against forgery.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import UserError, first_line
from ..files import file_sha256
from .contract import ModelInfo, parse_passport
from .trt_api import Machine

SCHEMA_VERSION = 1
_MAX_BYTES = 2**20
_MAX_WORKSPACE_MIB = 2**20
# Of all texts: they become parts of a command that the user is told to type.
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}"


@dataclass(frozen=True)
class EnginePassport:
    """What must be known of an engine file before it is loaded."""

    machine: Machine  # it was built on and runs on
    onnx_file: str  # it was built from, beside it
    onnx_sha256: str
    engine_sha256: str
    precision: str
    workspace_mib: int | None

    def rebuild_command(self, folder: Path) -> str:
        """Return the command that builds it again, from the ONNX file in `folder`."""
        words = ["python", "-m", "compress.tensorrt", str(folder / self.onnx_file)]
        words += ["--workspace-mib", str(self.workspace_mib)] if self.workspace_mib else []
        return shlex.join(words)


def engine_passport_text(
    passport: EnginePassport, model: Mapping[str, Any], build: Mapping[str, Any] | None = None
) -> str:
    """Return the JSON file's content; `model` is the passport of the ONNX file, `build` what the build came to."""
    engine = {**asdict(passport), **(build or {})}
    return json.dumps({"schema_version": SCHEMA_VERSION, "engine": engine, "model": model}, indent=2) + "\n"


def read_engine_passport(path: Path) -> tuple[EnginePassport, ModelInfo]:
    """Read the passport beside an engine file, which is not trusted. A UserError says what is wrong with it."""
    beside = path.with_suffix(".json")
    how = "build the engine again with python -m compress.tensorrt"
    if not beside.is_file():
        raise UserError(f"{path} has no passport {beside.name}: {how}")
    try:
        if beside.stat().st_size > _MAX_BYTES:
            raise ValueError("it is too long")
        facts = json.loads(beside.read_bytes())
        if facts["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"it is not of schema version {SCHEMA_VERSION}")
        mib = facts["engine"]["workspace_mib"]
        if mib is not None and (type(mib) is not int or not 0 < mib <= _MAX_WORKSPACE_MIB):
            raise ValueError(f"workspace_mib is not a number from 1 to {_MAX_WORKSPACE_MIB}")
        machine = Machine(*(_text(facts["engine"]["machine"], field.name) for field in fields(Machine)))
        texts = {key: _text(facts["engine"], key) for key in ("onnx_file", "onnx_sha256", "engine_sha256", "precision")}
        passport = EnginePassport(machine, **texts, workspace_mib=mib)
        model = json.dumps(facts["model"])
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise UserError(f"{beside}: unusable engine passport: {first_line(problem)}; {how}") from None
    return passport, parse_passport(model, str(beside))


def check_engine(passport: EnginePassport, path: Path, plan: bytes, machine: Machine) -> None:
    """Raise a UserError with the command that builds it again unless the engine is this file and for this machine."""
    command = passport.rebuild_command(path.parent)
    for field in fields(Machine):
        built, here = getattr(passport.machine, field.name), getattr(machine, field.name)
        if built != here:
            what = f"{field.name.replace('_', ' ')} {built or 'none'}, here it is {here or 'none'}"
            raise UserError(f"{path} was built for {what}: {command}")
    if hashlib.sha256(plan).hexdigest() != passport.engine_sha256:
        raise UserError(f"{path} is not the file its passport describes: {command}")
    source = path.parent / passport.onnx_file
    if source.is_file() and file_sha256(source) != passport.onnx_sha256:
        raise UserError(f"{path} was built from another {passport.onnx_file} than the one beside it: {command}")


def _text(facts: dict[str, Any], key: str) -> Any:
    value = facts[key]
    if value is None and key == "l4t":
        return None
    if not isinstance(value, str) or not re.fullmatch(_WORD, value):
        raise ValueError(f"{key} is not a plain word")
    return value
