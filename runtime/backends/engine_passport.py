"""The passport of a TensorRT engine, beside it as JSON: what it was built from, on what, and what came of it.

An engine runs only where it was built: same TensorRT, same GPU generation, same platform. TensorRT trusts an engine as
it trusts code, so load only engines that you built; the passport guards against mistakes, not against forgery.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from runtime.backends.contract import ModelInfo, parse_passport
from runtime.backends.trt_api import Machine
from runtime.errors import UserError

SCHEMA_VERSION = 1
PRECISIONS = ("fp32", "fp16", "int8")
_MAX_BYTES = 2**20
_VERSION = r"\d{1,4}(\.[0-9a-z]{1,8}){1,5}"
_SHA256 = r"[0-9a-f]{64}"
_FILE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.onnx"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,60}"
_ARCHITECTURE = r"[A-Za-z0-9_]{1,20}"


class _Bad(Exception):
    """What is wrong with a passport."""


@dataclass(frozen=True)
class EnginePassport:
    """Facts of one engine file."""

    machine: Machine  # it was built on and runs on
    onnx_file: str  # it was built from, beside it
    onnx_sha256: str
    engine_sha256: str
    precision: str
    strongly_typed: bool  # False: TensorRT chose precisions by flags
    target: str | None  # the profile whose workspace it was built with
    workspace_mib: int | None
    build_seconds: float
    device_memory_bytes: int | None  # that one execution context takes
    graph_layers: dict[str, int]  # convolutions and matrix products by precision, as the graph has them
    engine_layers: dict[str, int]  # computing layers by precision, as TensorRT built them
    warnings: tuple[str, ...]  # of the build

    def rebuild_command(self, folder: Path) -> str:
        """What builds it again, from the ONNX file in `folder`."""
        words = ["python", "-m", "compress.tensorrt", str(folder / self.onnx_file)]
        words += ["--target", self.target] if self.target else []
        words += ["--workspace-mib", str(self.workspace_mib)] if self.workspace_mib and not self.target else []
        words += [] if self.strongly_typed else ["--weak", self.precision]
        return shlex.join([*words, "--overwrite"])


def engine_passport_text(passport: EnginePassport, model: dict[str, Any]) -> str:
    """The JSON file's content; `model` is the passport of the ONNX file."""
    facts = {"schema_version": SCHEMA_VERSION, "engine": asdict(passport), "model": model}
    return json.dumps(facts, indent=2) + "\n"


def read_engine_passport(path: Path) -> tuple[EnginePassport, ModelInfo]:
    """The passport beside an engine. A UserError says what is wrong with it; nothing in it is trusted."""
    beside = path.with_suffix(".json")
    how = "build the engine again with python -m compress.tensorrt"
    try:
        with beside.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} has no passport {beside.name} ({error.strerror}): {how}") from None
    try:
        if len(content) > _MAX_BYTES:
            raise _Bad("it is too long")
        try:
            facts = json.loads(content)
        except (ValueError, RecursionError):
            raise _Bad("it is not JSON") from None
        if not isinstance(facts, dict) or facts.get("schema_version") != SCHEMA_VERSION:
            raise _Bad(f"it is not of schema version {SCHEMA_VERSION}")
        passport = _parse(facts.get("engine"))
    except _Bad as problem:
        raise UserError(f"{beside}: unusable engine passport: {problem}; {how}") from None
    return passport, parse_passport(json.dumps(facts.get("model")), str(beside))


def check_engine(passport: EnginePassport, path: Path, plan: bytes, machine: Machine) -> None:
    """A UserError with the exact command that builds it again unless the engine is this file and for this machine."""
    command = passport.rebuild_command(path.parent)
    for field in fields(Machine):
        built, here = getattr(passport.machine, field.name), getattr(machine, field.name)
        if built != here:
            what = f"{field.name.replace('_', ' ')} {built or 'none'}, here it is {here or 'none'}"
            raise UserError(f"{path} was built for {what}: {command}")
    if hashlib.sha256(plan).hexdigest() != passport.engine_sha256:
        raise UserError(f"{path} is not the file its passport describes: {command}")
    source = path.parent / passport.onnx_file
    if source.is_file() and _file_sha256(source) != passport.onnx_sha256:
        raise UserError(f"{path} was built from another {passport.onnx_file} than the one beside it: {command}")


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _parse(facts: object) -> EnginePassport:
    engine = _object(facts, "engine")
    machine = _object(engine.get("machine"), "machine")
    return EnginePassport(
        machine=Machine(
            tensorrt=_match(machine, "tensorrt", _VERSION),
            cuda=_match(machine, "cuda", _VERSION),
            compute_capability=_match(machine, "compute_capability", _VERSION),
            l4t=None if machine.get("l4t") is None else _match(machine, "l4t", _VERSION),
            architecture=_match(machine, "architecture", _ARCHITECTURE),
        ),
        onnx_file=_match(engine, "onnx_file", _FILE),
        onnx_sha256=_match(engine, "onnx_sha256", _SHA256),
        engine_sha256=_match(engine, "engine_sha256", _SHA256),
        precision=_precision(engine),
        strongly_typed=_boolean(engine, "strongly_typed"),
        target=None if engine.get("target") is None else _match(engine, "target", _NAME),
        workspace_mib=None if engine.get("workspace_mib") is None else _count(engine, "workspace_mib", 2**20),
        build_seconds=_seconds(engine, "build_seconds"),
        device_memory_bytes=None
        if engine.get("device_memory_bytes") is None
        else _count(engine, "device_memory_bytes", 2**50),
        graph_layers=_counts(engine, "graph_layers"),
        engine_layers=_counts(engine, "engine_layers"),
        warnings=_texts(engine, "warnings"),
    )


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Bad(f"{what} is not a JSON object")
    return value


def _match(facts: dict[str, Any], key: str, pattern: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise _Bad(f"{key} is not of the form that it has in every passport")
    return value


def _precision(facts: dict[str, Any]) -> str:
    value = facts.get("precision")
    if value not in PRECISIONS:
        raise _Bad(f"precision is not one of {', '.join(PRECISIONS)}")
    return str(value)


def _boolean(facts: dict[str, Any], key: str) -> bool:
    value = facts.get(key)
    if not isinstance(value, bool):
        raise _Bad(f"{key} is neither true nor false")
    return value


def _count(facts: dict[str, Any], key: str, most: int) -> int:
    value = facts.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _Bad(f"{key} is not a count up to {most}")
    return value


def _seconds(facts: dict[str, Any], key: str) -> float:
    value = facts.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e7:  # nor nan
        raise _Bad(f"{key} is not a number of seconds")
    return float(value)


def _counts(facts: dict[str, Any], key: str) -> dict[str, int]:
    table = _object(facts.get(key), key)
    if set(table) - set(PRECISIONS):
        raise _Bad(f"{key} has other keys than {', '.join(PRECISIONS)}")
    return {name: _count(table, name, 10**6) for name in table}


def _texts(facts: dict[str, Any], key: str) -> tuple[str, ...]:
    value = facts.get(key)
    if not isinstance(value, list) or any(not isinstance(text, str) for text in value):
        raise _Bad(f"{key} is not a list of texts")
    return tuple(value)
