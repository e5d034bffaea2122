"""The table of formats: what each is called, takes and gives, and the module that makes its files.

A new format is one module with the functions of Steps, and one row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from compress.artefact import BASELINE, WEIGHTS_ONLY, Artefact
from compress.coreml import coreml_format
from compress.litert import litert_format
from compress.litert.convert import check_converter
from compress.material import Material
from compress.onnx import onnx_format
from compress.onnx.flavours import FLAVOURS
from compress.openvino import openvino_format
from compress.request import ExportRequest
from compress.tensorrt import tensorrt_format
from compress.web import web_format
from targets import Target
from training.evaluation.predictions import Predictor


class Steps(Protocol):
    """What a format's module can do with an artefact of it."""

    def make(self, artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
        """Write the file to its path and prove it; `made`: those before it. A verdict in the result: it failed."""

    def open_predictor(self, artefact: Artefact, material: Material) -> Predictor:
        """Open the file as it runs on its device, to measure its accuracy."""

    def embed(self, artefact: Artefact, facts: dict[str, Any]) -> dict[str, Any]:
        """Put the passport into the file; gives the file's hash, and what else is known of it by then."""


@dataclass(frozen=True)
class Format:
    """One file format."""

    name: str
    suffix: str
    precisions: Mapping[str, str]  # what the command line asks for -> what the file holds
    untimed: str  # why one of its files has no latency here
    steps: Steps
    passport_suffix: str = ".json"  # of the file beside it
    weights_suffix: str | None = None  # of a further file
    timed: bool = False  # whether machines that export run it: its latency is measured
    needs: tuple[str, ...] = ()  # packages beside the exporter's own
    check_tools: Callable[[], object] = tuple  # raises a UserError where a tool that is no package of ours is missing
    profiled_as: str | None = None  # the format that stands for it in device profiles
    from_onnx: bool = True  # whether it is, or is built from, an ONNX file of that precision
    int8_flavour: str | None = None  # that this ONNX file has; None: the target's

    def paths(self, path: Path) -> tuple[Path, ...]:
        """All files of an artefact: the passport first, itself last."""
        beside = [path.with_suffix(suffix) for suffix in (self.passport_suffix, self.weights_suffix) if suffix]
        return (*beside, path)


_FORMATS = (
    Format(
        name="onnx",
        suffix=".onnx",
        precisions={name: name for name in ("fp32", "fp16", "int8", "w8")},
        untimed="made for another machine than this one",
        steps=onnx_format,
        timed=True,
    ),
    Format(
        name="tensorrt",
        suffix=".engine",
        precisions={name: name for name in ("fp32", "fp16", "int8")},
        untimed="python benchmarks/run.py measures engines on their device",
        steps=tensorrt_format,
        int8_flavour="trt",
    ),
    Format(
        name="coreml",
        suffix=".mlpackage",
        precisions={"fp32": "fp32", "fp16": "fp16", "int8": "w8", "w8": "w8"},
        untimed="Core ML runs on Apple's devices alone",
        steps=coreml_format,
        passport_suffix=".mlpackage.json",
        from_onnx=False,
        needs=("coremltools",),
    ),
    Format(
        name="openvino",
        suffix=".xml",
        precisions={name: name for name in ("fp32", "fp16", "int8")},
        untimed="it could not be measured",
        steps=openvino_format,
        timed=True,
        passport_suffix=".xml.json",
        weights_suffix=".bin",
        from_onnx=False,
        int8_flavour="nncf",
        needs=("openvino", "nncf"),
        profiled_as="onnx",
    ),
    Format(
        name="litert",
        suffix=".tflite",
        precisions={name: name for name in ("fp32", "fp16", "int8")},
        untimed="it could not be measured",
        steps=litert_format,
        timed=True,
        passport_suffix=".tflite.json",
        from_onnx=False,
        int8_flavour="litert",
        needs=("ai_edge_litert", "ai_edge_quantizer"),
        check_tools=check_converter,
        profiled_as="onnx",
    ),
    Format(
        name="web",
        suffix=".web",
        precisions={name: name for name in ("fp32", "int8", "w8")},
        untimed="the page measures itself in the browser that shows it",
        steps=web_format,
        passport_suffix=".web.json",
        int8_flavour="cpu",
    ),
)
FORMATS: Mapping[str, Format] = {row.name: row for row in _FORMATS}
PRECISIONS = tuple(dict.fromkeys(precision for row in _FORMATS for precision in row.precisions))


def plan_artefacts(request: ExportRequest, target: Target | None) -> tuple[Artefact, ...]:
    """What is made, in this order: ONNX files, fp32 first, which all others are measured against; then the others."""
    onnx, others = [Artefact("onnx", BASELINE, BASELINE)], []
    for chosen in (FORMATS[name] for name in request.formats):
        if chosen.from_onnx:
            of_target = "cpu" if target is None or target.int8_flavour is None else target.int8_flavour
            flavour = {"int8": chosen.int8_flavour or of_target, "w8": WEIGHTS_ONLY}.get(request.precision)
            label = FLAVOURS[flavour] if flavour else request.precision
            onnx.append(Artefact("onnx", request.precision, label, flavour))
        if chosen.name != "onnx":
            holds = chosen.precisions[request.precision]
            own = chosen.int8_flavour if holds == "int8" and not chosen.from_onnx else None
            others.append(Artefact(chosen.name, holds, holds, own))
    others.sort(key=lambda artefact: artefact.format == "web")  # a page holds the LiteRT model, where there is one
    return tuple({(a.format, a.label): a for a in (*onnx, *others)}.values())


def export_label(precision: str, artefacts: tuple[Artefact, ...]) -> str:
    """What an export is called in its report: as asked for, unless a target made another flavour of it."""
    labels = [artefact.label for artefact in artefacts if artefact.format == "onnx"]
    return precision if precision in labels or labels == [BASELINE] else labels[-1]
