"""Why a quantised or half-precision file may not be faster: read off the graph onnxruntime really runs, and the CPU."""

from __future__ import annotations

import platform
import tempfile
from collections import Counter
from pathlib import Path


def explain(path: Path, precision: str) -> str:
    """One sentence with the causes found for this file on this machine."""
    operators = running_operators(path)
    causes = []
    if precision == "fp16":
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
