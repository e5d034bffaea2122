"""Two limits: how much of this machine's peak of products a row reaches, and what a device needs at least.

The machine's peaks are probes: one matrix product in fp32 and one in int8, timed like any other candidate and in turn
with them, so that the limits are those of the run. A device that is not at hand has the peaks of its profile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.candidates.candidate import PROBE, Candidate
from benchmarks.records.record import Limit, Prediction, Record
from targets import Target

if TYPE_CHECKING:
    from onnx import ModelProto

    from benchmarks.candidates.facts import Facts

SIDE = 512  # of the matrices: they fit a core's second cache in part, as a network's do


def _fp32_product() -> ModelProto:
    from onnx import TensorProto, helper

    weight = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    return _graph(helper.make_node("MatMul", ["a", "w"], ["b"]), {"w": weight}, TensorProto.FLOAT)


def _int8_product() -> ModelProto:
    """Multiply uint8 activations by int8 weights of 7 bits, which no CPU saturates on."""
    from onnx import TensorProto, helper

    weight = np.random.default_rng(0).integers(-64, 65, (SIDE, SIDE)).astype(np.int8)
    inputs = ["a", "s", "za", "w", "s", "zw", "s", "za"]
    constants = {"w": weight, "s": np.float32(0.01), "za": np.uint8(0), "zw": np.int8(0)}
    return _graph(helper.make_node("QLinearMatMul", inputs, ["b"]), constants, TensorProto.UINT8)


def _graph(node: object, constants: Mapping[str, object], element: int) -> ModelProto:
    from onnx import helper, numpy_helper

    first, last = (helper.make_tensor_value_info(name, element, [SIDE, SIDE]) for name in "ab")
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph([node], "probe", [first], [last], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


PROBES: dict[str, Callable[[], ModelProto]] = {"fp32": _fp32_product, "int8": _int8_product}  # by precision


def probe_name(precision: str) -> str:
    """Return the name of a probe's row."""
    return f"{precision} products"


def write_probes(folder: Path) -> list[Candidate]:
    """Write the probes as files, to be timed like any candidate."""
    import onnx

    candidates = []
    for precision, make in PROBES.items():
        path = folder / f"{precision}_products.onnx"
        onnx.save(make(), path)
        candidates.append(Candidate(probe_name(precision), PROBE, "onnxruntime", (str(path),), precision=precision))
    return candidates


def machine_limits(records: Sequence[Record]) -> dict[str, Limit]:
    """Return what the probes that were timed reached, by the rows' names."""
    gflop = 2 * SIDE**3 / 1e9
    names = {probe_name(precision) for precision in PROBES}
    timed = [(record.name, record.latency_ms) for record in records if record.name in names]
    return {name: Limit(gflops=gflop / latency.p50 * 1e3) for name, latency in timed if latency is not None}


def share_of_limit(record: Record, limits: Mapping[str, Limit]) -> Limit | None:
    """Return the row's share of its precision's peak; a precision without a probe is computed in fp32 here."""
    precision = record.artifact.precision if record.artifact.precision in PROBES else "fp32"
    probe = limits.get(probe_name(precision or "fp32"))
    if record.latency_ms is None or not record.artifact.gmac or probe is None or not probe.gflops:
        return None
    reached = 2 * record.artifact.gmac / (record.latency_ms.p50 / 1e3)
    return Limit(share_pct=100 * reached / probe.gflops)


def lower_bound(target: Target, facts: Facts) -> Prediction | str:
    """Return what a frame takes at least on a device, or why nobody knows.

    Products run at the profile's peak of their precision (fp32's where it has none), and every byte of the file comes
    from memory once; the longer of the two counts. Real networks of this size stay well above.
    """
    peaks = target.peaks
    if peaks.fp32_gflops is None or peaks.memory_gb_s is None:
        missing = [name for name in ("fp32_gflops", "memory_gb_s") if getattr(peaks, name) is None]
        return f"the profile {target.name} has no {' and no '.join(missing)}"
    if not facts.gmac or facts.artifact.bytes is None:
        return "an engine file does not show its graph"
    rates = {"fp32": peaks.fp32_gflops, "fp16": peaks.fp16_gflops, "int8": peaks.int8_gops}
    used = {precision: rates[precision] or peaks.fp32_gflops for precision in facts.gmac}
    products_ms = sum(2e3 * gmac / used[precision].value for precision, gmac in facts.gmac.items())
    memory_ms = facts.artifact.bytes / 1e6 / peaks.memory_gb_s.value
    mode = f"@{target.power_mode.name}" if target.power_mode else ""
    sources = dict.fromkeys(figure.source for figure in (*used.values(), peaks.memory_gb_s))
    return Prediction(f"{target.name}{mode}", max(products_ms, memory_ms), list(sources))
