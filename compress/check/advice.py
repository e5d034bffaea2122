"""Which file to run on this machine, and why a quantised or half-precision one may not be faster.

Causes are read off the graph that onnxruntime really runs, the CPU, and how much arithmetic there is per byte.
"""

from __future__ import annotations

import platform
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.check.timing import Ratio

WORTH = 1.05  # times the speed of fp32 that a change of precision is worth it from
# Products per byte of weights below which a core waits for memory: 10 GB/s against 80 GFLOP/s.
MEMORY_BOUND = 8


def advise(files: Mapping[str, Path], ratios: Mapping[str, Ratio], lost_mm: Mapping[str, float]) -> str:
    """One line: the precision to run here, its gain and loss, and the causes where there is no gain.

    files, lost_mm: by label (formats.OnnxFile); ratios: how many times faster than fp32, of the others.
    """
    others = [precision for precision in files if precision in ratios]
    if not others:
        return "fp32 on this machine; the new file is made for another and was not timed here"
    best = max(others, key=lambda precision: ratios[precision].median)
    ratio, loss = ratios[best], f"{lost_mm[best]:+.2f} mm"
    figures = f"{ratio.median:.2f} times the speed of fp32 ({ratio.min:.2f} to {ratio.max:.2f}), {loss}"
    if ratio.median >= WORTH and ratio.min > 1:
        return f"{best} on this machine: {figures}"
    if ratio.median > 1 >= ratio.min:
        return f"fp32 on this machine: {best} has {figures}, which is within the noise; {explain(files[best], best)}"
    return f"fp32 on this machine: {best} has {figures}; {explain(files[best], best)}"


def explain(path: Path, precision: str) -> str:
    """One sentence with the causes found for this file on this machine."""
    operators = running_operators(path)
    causes = []
    if (intensity := products_per_byte(path)) < MEMORY_BOUND:
        causes.append(f"{intensity:.0f} products per byte of weights: memory, not arithmetic, sets the pace")
    if precision == "w8":
        causes.append("weights alone are integers, and computed with as floats: smaller, not faster")
    elif precision == "fp16":
        causes.append(
            f"onnxruntime computes in fp32 on CPUs and adds {operators['Cast']} casts; fp16 is for GPUs and NPUs"
        )
    else:
        if not has_int8_dot_products():
            causes.append("this CPU has no int8 dot products (VNNI, dotprod)")
        conversions = operators["QuantizeLinear"] + operators["DequantizeLinear"]
        attention = operators["MatMul"] + operators["Softmax"]
        causes.append(
            f"{conversions} conversions stand around {attention} attention products and softmaxes left in float"
        )
    return "; ".join(causes)


def running_operators(path: Path) -> Counter[str]:
    """How often each operator occurs after onnxruntime's own fusions."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(optimised)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return Counter(node.op_type for node in onnx.load(optimised).graph.node)


def cpu_flags() -> frozenset[str]:
    """Instruction-set flags as Linux lists them; empty where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        if line.startswith(("flags", "Features")):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def has_int8_dot_products() -> bool:
    """VNNI on x86, dotprod on Arm."""
    wanted = {"asimddp"} if platform.machine() in ("aarch64", "arm64") else {"avx512_vnni", "avx_vnni"}
    return bool(cpu_flags() & wanted)


def products_per_byte(path: Path) -> float:
    """Multiply-accumulates of convolutions and linears per byte of constants."""
    import math

    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for value in [*model.graph.value_info, *model.graph.output]:
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)

    def weight_of(name: str) -> tuple[int, ...]:
        maker = makers.get(name)
        return shapes[maker.input[0]] if maker is not None and maker.op_type == "DequantizeLinear" else shapes[name]

    products = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm") and node.output[0] in shapes:
            weight, output = weight_of(node.input[1]), shapes[node.output[0]]
            # A convolution makes each output from inputs/groups x kernel values, a linear from all of its inputs.
            products += math.prod(output) * (math.prod(weight) // (weight[0] if node.op_type == "Conv" else output[-1]))
    stored = sum(len(t.raw_data) or len(t.SerializeToString()) for t in model.graph.initializer)
    return products / max(stored, 1)
