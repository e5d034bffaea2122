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

from runtime.backends.contract import ModelInfo, parse_passport
from runtime.backends.trt_api import Machine
from runtime.errors import UserError

SCHEMA_VERSION = 1
_MAX_BYTES = 2**20
_MAX_WORKSPACE_MIB = 2**20
_VERSION = r"\d{1,4}(\.[0-9a-z]{1,8}){1,5}"
_SHA256 = r"[0-9a-f]{64}"
_FORMS = {  # of the texts: they become parts of a command that the user is told to type
    "tensorrt": _VERSION,
    "cuda": _VERSION,
    "compute_capability": _VERSION,
    "l4t": _VERSION,
    "architecture": r"[A-Za-z0-9_]{1,20}",
    "onnx_file": r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.onnx",
    "onnx_sha256": _SHA256,
    "engine_sha256": _SHA256,
    "precision": "fp32|fp16|int8",
    "target": r"[A-Za-z0-9][A-Za-z0-9._@-]{0,60}",
}


class _Bad(Exception):
    """What is wrong with a passport."""


@dataclass(frozen=True)
class EnginePassport:
    """What must be known of an engine file before it is loaded."""

    machine: Machine  # it was built on and runs on
    onnx_file: str  # it was built from, beside it
    onnx_sha256: str
    engine_sha256: str
    precision: str
    target: str | None  # the profile whose workspace it was built with
    workspace_mib: int | None

    def rebuild_command(self, folder: Path) -> str:
        """Return the command that builds it again, from the ONNX file in `folder`."""
        words = ["python", "-m", "compress.tensorrt", str(folder / self.onnx_file)]
        words += ["--target", self.target] if self.target else []
        words += ["--workspace-mib", str(self.workspace_mib)] if self.workspace_mib and not self.target else []
        return shlex.join([*words, "--overwrite"])


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
    try:
        with beside.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} has no passport {beside.name} ({error.strerror}): {how}") from None
    try:
        facts = _parse_json(content)
        passport = _parse_engine(facts.get("engine"))
    except _Bad as problem:
        raise UserError(f"{beside}: unusable engine passport: {problem}; {how}") from None
    return passport, parse_passport(json.dumps(facts.get("model")), str(beside))


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
    if source.is_file() and hashlib.sha256(source.read_bytes()).hexdigest() != passport.onnx_sha256:
        raise UserError(f"{path} was built from another {passport.onnx_file} than the one beside it: {command}")


def _parse_json(content: bytes) -> dict[str, Any]:
    if len(content) > _MAX_BYTES:
        raise _Bad("it is too long")
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError):
        raise _Bad("it is not JSON") from None
    if not isinstance(facts, dict) or facts.get("schema_version") != SCHEMA_VERSION:
        raise _Bad(f"it is not of schema version {SCHEMA_VERSION}")
    return facts


def _parse_engine(facts: object) -> EnginePassport:
    if not isinstance(facts, dict) or not isinstance(machine := facts.get("machine"), dict):
        raise _Bad("engine or its machine is not a JSON object")
    workspace_mib = facts.get("workspace_mib")
    if workspace_mib is not None and (type(workspace_mib) is not int or not 0 < workspace_mib <= _MAX_WORKSPACE_MIB):
        raise _Bad(f"workspace_mib is not a number from 1 to {_MAX_WORKSPACE_MIB}")
    texts = ("onnx_file", "onnx_sha256", "engine_sha256", "precision")
    return EnginePassport(
        machine=Machine(
            **{field.name: _text(machine, field.name) for field in fields(Machine) if field.name != "l4t"},
            l4t=None if machine.get("l4t") is None else _text(machine, "l4t"),
        ),
        **{name: _text(facts, name) for name in texts},
        target=None if facts.get("target") is None else _text(facts, "target"),
        workspace_mib=workspace_mib,
    )


def _text(facts: dict[str, Any], key: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not re.fullmatch(_FORMS[key], value):
        raise _Bad(f"{key} is not of the form that it has in every passport")
    return value
