"""The formats an export can write, as a table, and the ONNX files that each of them takes."""

from __future__ import annotations

from dataclasses import dataclass

from compress.onnx.flavours import get_flavour
from runtime.errors import unknown_name

BASELINE = "fp32"
WEIGHTS_ONLY = "coreml-w8"  # the flavour that computes in float


@dataclass(frozen=True)
class Format:
    """One file format."""

    name: str
    suffix: str
    precisions: tuple[str, ...]


FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format("onnx", ".onnx", ("fp32", "fp16", "int8", "w8")),
        Format("tensorrt", ".engine", ("fp32", "fp16", "int8")),
        Format("coreml", ".mlpackage", ("fp32", "fp16", "int8", "w8", "palette6")),
    )
}


@dataclass(frozen=True)
class OnnxFile:
    """One ONNX file of an export."""

    precision: str
    flavour: str | None = None  # of int8 weights

    @property
    def label(self) -> str:
        """What tells it apart in names and tables: fp32, fp16, int8, int8-trt, w8."""
        return self.precision if self.flavour is None else get_flavour(self.flavour).suffix

    @property
    def calibrated(self) -> bool:
        """Whether its activations are rounded."""
        return self.flavour not in (None, WEIGHTS_ONLY)


def onnx_files(precision: str, formats: tuple[str, ...], int8_flavour: str) -> tuple[OnnxFile, ...]:
    """What is written: always fp32, which the others are measured against; TensorRT has a flavour of its own."""
    files = [OnnxFile(BASELINE)]
    for name in formats:
        if precision == "int8" and name != "coreml":
            files.append(OnnxFile("int8", "trt" if name == "tensorrt" else int8_flavour))
        elif precision == "w8" and name == "onnx":
            files.append(OnnxFile("w8", WEIGHTS_ONLY))
        elif precision == "fp16" and name != "coreml":
            files.append(OnnxFile("fp16"))
    return tuple(dict.fromkeys(files))


def get_format(name: str) -> Format:
    """The format of that name; a UserError with the nearest where there is none."""
    if name in FORMATS:
        return FORMATS[name]
    raise unknown_name("format", name, FORMATS)


def artefact_name(variant: str, crop_px: int, label: str, pruned: float = 0.0) -> str:
    """`er-s_224_int8`, `er-s-p30_224_int8` where 30 % were pruned: the stem of a file and of its passport."""
    share = f"-p{round(100 * pruned)}" if pruned else ""
    return f"{variant}{share}_{crop_px}_{label}"


def export_label(precision: str, files: tuple[OnnxFile, ...]) -> str:
    """What an export is called in its report: as asked for, unless a target made another flavour of it."""
    labels = [file.label for file in files]
    return precision if precision in labels or labels == [BASELINE] else labels[-1]
