"""What a graph costs without being run: products, by ONNX's own shape inference, and its least time on a device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.records.record import Artifact, Prediction
from runtime.backends.contract import METADATA_KEY
from runtime.errors import UserError, first_line
from targets import Target

if TYPE_CHECKING:
    from onnx import ModelProto

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose")
FLOAT16 = 10  # of onnx.TensorProto


@cache  # a benchmark reads a file for its passport, its products and its opset
def read_graph(path: Path) -> ModelProto:
    """Load an ONNX file; a UserError where it is none."""
    import onnx  # optional: the runner needs none

    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's errors have no class in common
        raise UserError(f"{path} is not an ONNX file ({first_line(error)})") from None


def passport_text(path: Path) -> str | None:
    """Return the passport in an ONNX file."""
    return next((entry.value for entry in read_graph(path).metadata_props if entry.key == METADATA_KEY), None)


def count_gmac(model: ModelProto) -> dict[str, float]:
    """Count 10^9 multiply-accumulates of convolutions, linears and attention products by precision (fp32, fp16, int8).

    A product is int8 where both factors come out of a DequantizeLinear, perhaps reshaped, as engines compute it.
    A UserError where a shape is not fixed.
    """
    from onnx.shape_inference import infer_shapes

    graph = infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type
        shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)  # 0 where it is not fixed
        types[value.name] = kind.elem_type
    makers = {name: node for node in graph.node for name in node.output}

    def is_int8(name: str) -> bool:
        while (maker := makers.get(name)) is not None and maker.op_type in RESHAPES:
            name = maker.input[0]
        return maker is not None and maker.op_type == "DequantizeLinear"

    counted: dict[str, float] = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        first, second, result = (shapes.get(name, (0,)) for name in (*node.input[:2], node.output[0]))
        if node.op_type == "Conv":
            products = math.prod(result) * math.prod(second[1:])
        elif node.op_type == "ConvTranspose":
            products = math.prod(first) * math.prod(second[1:])
        else:
            transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            products = math.prod(result) * first[-2 if transposed else -1]
        if products <= 0:
            raise UserError(f"the shapes of '{node.name[:80]}' are not fixed, so its cost cannot be known")
        precision = "int8" if all(map(is_int8, node.input[:2])) else "fp32"
        if precision == "fp32" and types.get(node.input[0]) == FLOAT16:
            precision = "fp16"
        counted[precision] = counted.get(precision, 0.0) + products / 1e9
    return counted


def lower_bound(target: Target, artifact: Artifact, gmac: Mapping[str, float]) -> Prediction | str:
    """Return what a frame takes at least on a device, or why nobody knows. gmac: by precision.

    Products run at the profile's peak of their precision (fp32's where it has none), and every byte of the file comes
    from memory once; the longer of the two counts. Real networks of this size stay well above.
    """
    peaks = target.peaks
    fp32, memory = peaks.get("fp32_gflops"), peaks.get("memory_gb_s")
    if fp32 is None or memory is None:
        return f"the profile {target.name} lacks fp32_gflops or memory_gb_s"
    if not gmac or artifact.bytes is None:
        return "an engine file does not show its graph"
    rates = {"fp32": fp32, "fp16": peaks.get("fp16_gflops", fp32), "int8": peaks.get("int8_gops", fp32)}
    used = {precision: rates[precision] for precision in gmac}
    products_ms = sum(2e3 * products / used[precision].value for precision, products in gmac.items())
    memory_ms = artifact.bytes / 1e6 / memory.value
    mode = f"@{target.power_mode.name}" if target.power_mode else ""
    sources = dict.fromkeys(figure.source for figure in (*used.values(), memory))
    return Prediction(f"{target.name}{mode}", max(products_ms, memory_ms), list(sources))
