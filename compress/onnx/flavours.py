"""The flavours of int8 as a table: what a runtime computes fast and right differs, so there is a file for each.

`cpu` is onnxruntime's placement; `trt` is explicit quantisation as TensorRT wants it; `coreml-w8` has weights alone as
int8, here as ONNX (Core ML packages: compress/coreml/weight_storage.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress.crops import Crops
from compress.onnx import int8_cpu as cpu
from compress.onnx import int8_tensorrt as trt
from compress.onnx import int8_weights as weights
from compress.onnx.calibration import CalibrationSpec, Ranges, calibrate
from compress.onnx.lint_rules import Rule
from compress.onnx.quantize import QuantizedNodes, load_float, select_nodes
from runtime.errors import unknown_name
from training.int8_rules import QuantizeSpec

if TYPE_CHECKING:
    from onnx import ModelProto

Write = Callable[[Path, Path, QuantizedNodes, Ranges, QuantizeSpec], None]


@dataclass(frozen=True)
class Flavour:
    """One way to write an int8 file."""

    name: str
    purpose: str
    suffix: str  # of the artefact's name: er-s_224_int8, er-s_224_int8-trt
    write: Write  # float file, int8 file, nodes, ranges of their tensors, spec
    rounded_tensors: Callable[[ModelProto, QuantizedNodes], tuple[str, ...]]
    rules: tuple[Rule, ...]


FLAVOURS: Mapping[str, Flavour] = {
    flavour.name: flavour
    for flavour in (
        Flavour("cpu", "onnxruntime on CPUs", "int8", cpu.write, cpu.rounded_tensors, cpu.RULES),
        Flavour("trt", "TensorRT: symmetric, float biases", "int8-trt", trt.write, trt.rounded_tensors, trt.RULES),
        Flavour(
            "coreml-w8",
            "smaller, not faster: weights alone, computed in float",
            "w8",
            weights.write,
            weights.rounded_tensors,
            weights.RULES,
        ),
    )
}


def get_flavour(name: str) -> Flavour:
    """The flavour of that name; a UserError with the nearest where there is none."""
    if name in FLAVOURS:
        return FLAVOURS[name]
    raise unknown_name("flavour", name, FLAVOURS)


def quantize(
    source: Path,
    target: Path,
    crops: Crops,
    spec: QuantizeSpec,
    flavour: str = "cpu",
    calibration: CalibrationSpec | None = None,
    nodes: QuantizedNodes | None = None,
) -> QuantizedNodes:
    """Write the int8 file of a float file, its ranges measured on crops (`calibration`; None: by percentile).

    nodes: a plan's, instead of the spec's patterns.
    """
    nodes = nodes or select_nodes(load_float(source), spec.keep_float)
    rounds = get_flavour(flavour).rounded_tensors(load_float(source), nodes)
    ranges = measure_ranges(source, crops, flavour, calibration) if rounds else {}
    get_flavour(flavour).write(source, target, nodes, ranges, spec)
    return nodes


def measure_ranges(
    source: Path,
    crops: Crops,
    flavour: str = "cpu",
    calibration: CalibrationSpec | None = None,
) -> Ranges:
    """Ranges of all tensors that a flavour could round, so that every choice of nodes has the same, cached ones."""
    model = load_float(source)
    every = select_nodes(model, ())
    chosen = get_flavour(flavour)
    # Whether a ReLU is folded depends on the choice: the tensors on both sides of each are measured.
    tensors = {
        *chosen.rounded_tensors(model, every),
        *(node.input[0] for node in model.graph.node if node.name in set(every.quantized)),
    }
    tensors |= {node.output[0] for node in model.graph.node if node.name in set(every.quantized)}
    return calibrate(source, tensors, crops, calibration or CalibrationSpec())
