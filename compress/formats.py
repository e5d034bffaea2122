"""The table of formats: what each is called, takes and gives, and the module that makes its files.

A new format is one module with the functions of Steps, and one row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from compress.artefact import BASELINE, WEIGHTS_ONLY, Artefact
from compress.coreml import coreml_format
from compress.material import Material
from compress.onnx import onnx_format
from compress.onnx.flavours import get_flavour
from compress.request import ExportRequest
from compress.tensorrt import tensorrt_format
from runtime.errors import unknown_name
from targets import Target
from training.evaluation.predictions import Predictor


class Steps(Protocol):
    """What a format's module can do with an artefact of it."""

    def make(self, artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
        """Write the file to its path and prove it; `made`: those before it. A verdict in the result: it failed."""

    def open_predictor(self, artefact: Artefact, material: Material) -> Predictor:
        """Open the file as it runs on its device, to measure its accuracy."""

    def write_passport(self, artefact: Artefact, facts: dict[str, Any]) -> Artefact:
        """Put the passport into the file and beside it; the result has the file's size and hash in its details."""

    def describe(self, facts: dict[str, Any]) -> list[str]:
        """Lines for the screen, of the format's entry in the report."""


@dataclass(frozen=True)
class Format:
    """One file format."""

    name: str
    suffix: str
    passport_suffix: str  # of the file beside it
    precisions: Mapping[str, str]  # what the command line asks for -> what the file holds
    from_onnx: bool  # whether it is, or is built from, an ONNX file of that precision
    int8_flavour: str | None  # that this ONNX file has; None: the target's
    untimed: str  # why one of its files has no latency here
    steps: Steps

    def passport_path(self, path: Path) -> Path:
        """Where the passport of a file lies."""
        return path.with_suffix(self.passport_suffix)


FORMATS: Mapping[str, Format] = {
    format.name: format
    for format in (
        Format(
            name="onnx",
            suffix=".onnx",
            passport_suffix=".json",
            precisions={name: name for name in ("fp32", "fp16", "int8", "w8")},
            from_onnx=True,
            int8_flavour=None,
            untimed="made for another machine than this one",
            steps=onnx_format,
        ),
        Format(
            name="tensorrt",
            suffix=".engine",
            passport_suffix=".json",
            precisions={name: name for name in ("fp32", "fp16", "int8")},
            from_onnx=True,
            int8_flavour="trt",
            untimed="python benchmarks/run.py measures engines on their device",
            steps=tensorrt_format,
        ),
        Format(
            name="coreml",
            suffix=".mlpackage",
            passport_suffix=".mlpackage.json",
            precisions={"fp32": "fp32", "fp16": "fp16", "int8": "w8", "w8": "w8", "palette6": "palette6"},
            from_onnx=False,
            int8_flavour=None,
            untimed="Core ML runs on Apple's devices alone",
            steps=coreml_format,
        ),
    )
}


def get_format(name: str) -> Format:
    """The format of that name; a UserError with the nearest where there is none."""
    if name in FORMATS:
        return FORMATS[name]
    raise unknown_name("format", name, FORMATS)


def plan_artefacts(request: ExportRequest, target: Target | None) -> tuple[Artefact, ...]:
    """What is made, in this order: ONNX files, fp32 first, which all others are measured against; then the others."""
    onnx, others = [Artefact("onnx", BASELINE, BASELINE)], []
    for chosen in (get_format(name) for name in request.formats):
        if chosen.from_onnx:
            onnx.append(_onnx_file(request.precision, chosen.int8_flavour or int8_flavour(target)))
        if chosen.name != "onnx":
            holds = chosen.precisions[request.precision]
            others.append(Artefact(chosen.name, holds, holds))
    return tuple({(a.format, a.label): a for a in (*onnx, *others)}.values())


def _onnx_file(precision: str, flavour: str) -> Artefact:
    if precision not in ("int8", "w8"):
        return Artefact("onnx", precision, precision)
    flavour = WEIGHTS_ONLY if precision == "w8" else flavour
    return Artefact("onnx", precision, get_flavour(flavour).suffix, flavour)


def int8_flavour(target: Target | None) -> str:
    """The flavour of int8 ONNX files for a target; without one that of CPUs."""
    return "cpu" if target is None or target.int8_flavour is None else target.int8_flavour


def export_label(precision: str, artefacts: tuple[Artefact, ...]) -> str:
    """What an export is called in its report: as asked for, unless a target made another flavour of it."""
    labels = [artefact.label for artefact in artefacts if artefact.format == "onnx"]
    return precision if precision in labels or labels == [BASELINE] else labels[-1]
