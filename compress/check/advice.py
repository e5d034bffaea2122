"""Which file to run on this machine, and why a quantised or half-precision one may not be faster."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from compress.artefact import Artefact
from runtime.machine import cpu_flags

WORTH = 1.05  # times the speed of fp32 that a change of precision is worth it from


def advise(artefacts: Sequence[Artefact]) -> str:
    """One line: which file to run here, its gain and loss, and the causes where there is no gain."""
    timed = [(a, a.ratio) for a in artefacts if a.verdict.passed and a.ratio is not None]
    if not timed:
        return "fp32 on this machine; no other file was timed here"
    best, ratio = max(timed, key=lambda pair: pair[1].median)
    name = best.label if best.format == "onnx" else f"{best.label} ({best.format})"
    figures = f"{ratio.median:.2f} times the speed of fp32 ({ratio.min:.2f} to {ratio.max:.2f}), {best.lost_mm:+.2f} mm"
    if ratio.median >= WORTH and ratio.min > 1:
        return f"{name} on this machine: {figures}"
    noise = ", which is within the noise" if ratio.median > 1 >= ratio.min else ""
    return f"fp32 on this machine: {name} has {figures}{noise}; {explain(best)}"


def explain(artefact: Artefact) -> str:
    """One sentence with what this file gains nothing by on this machine."""
    if artefact.label == "w8":
        return "weights alone are integers, and computed with as floats: smaller, not faster"
    if artefact.label == "fp16":
        return "onnxruntime computes in fp32 on CPUs, with casts; fp16 is for GPUs and NPUs"
    no_products = "" if has_int8_dot_products() else "this CPU has no int8 dot products (VNNI, dotprod), and "
    return f"{no_products}attention and the conversions around it stay in float"


def has_int8_dot_products() -> bool:
    """VNNI on x86, dotprod on Arm."""
    wanted = {"asimddp"} if platform.machine() in ("aarch64", "arm64") else {"avx512_vnni", "avx_vnni"}
    return bool(cpu_flags() & wanted)
