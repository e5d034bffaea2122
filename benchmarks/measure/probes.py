"""The limits of this machine, measured by its inference engine: products in fp32 and int8, other arithmetic, memory,
launches. Tiny graphs, timed like any other candidate and in turn with them, so that the limits are those of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.candidates.candidate import PROBE, Candidate
from benchmarks.measure.graph_cost import POINTWISE
from benchmarks.records.record import Limit

if TYPE_CHECKING:
    from onnx import ModelProto

SIDE = 512  # of the matrices: they fit a core's second cache in part, as a network's do
ELEMENTS = 2**18  # of the other tensors: 1 MB
LENGTH = 10  # operators in a row, so that the call itself weighs little
LAUNCHES = 60


@dataclass(frozen=True)
class Probe:
    """One limit: a graph and the work in it."""

    name: str
    precision: str | None
    make: Callable[[], ModelProto]
    products: int = 0  # multiply-accumulates
    flops: int = 0
    bytes: int = 0
    launches: int = 0

    def limit(self, p50_ms: float) -> Limit:
        """What was reached."""
        if self.launches:
            return Limit(us=1e3 * p50_ms / self.launches)
        if self.bytes:
            return Limit(gb_s=self.bytes / p50_ms / 1e6)
        return Limit(gflops=(2 * self.products + self.flops) / p50_ms / 1e6)


def _fp32_products() -> ModelProto:
    weight = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    return _graph([("MatMul", ["a", "w"], {})], {"w": weight}, [SIDE, SIDE])


def _int8_products() -> ModelProto:
    """uint8 activations by int8 weights of 7 bits, which no CPU saturates on."""
    weight = np.random.default_rng(0).integers(-64, 65, (SIDE, SIDE)).astype(np.int8)
    constants = {"w": weight, "scale": np.float32(0.01), "za": np.uint8(0), "zw": np.int8(0)}
    return _graph(
        [("QLinearMatMul", ["a", "scale", "za", "w", "scale", "zw", "scale", "za"], {})],
        constants,
        [SIDE, SIDE],
        "UINT8",
    )


def _other_arithmetic() -> ModelProto:
    return _graph([("Erf", [_at(i)], {}) for i in range(LENGTH)], {}, [1, ELEMENTS])


def _memory() -> ModelProto:
    random = np.random.default_rng(0)
    addends = {f"w{i}": random.random((1, ELEMENTS), np.float32) for i in range(LENGTH)}
    return _graph([("Add", [_at(i), f"w{i}"], {}) for i in range(LENGTH)], addends, [1, ELEMENTS])


def _launches() -> ModelProto:
    """Operators of the usual kinds on 16 x 16 numbers."""
    constants = {"w": np.eye(16, dtype=np.float32), "one": np.ones(16, np.float32)}
    kinds: list[tuple[str, list[str], dict[str, Any]]] = [
        ("MatMul", ["w"], {}),
        ("Transpose", [], {"perm": [1, 0]}),
        ("LayerNormalization", ["one"], {}),
        ("Softmax", [], {}),
        ("Add", ["one"], {}),
        ("Abs", [], {}),
    ]
    nodes = []
    for i in range(LAUNCHES):
        operator, others, attributes = kinds[i % len(kinds)]
        nodes.append((operator, [_at(i), *others], attributes))
    return _graph(nodes, constants, [16, 16])


def _int8_launches() -> ModelProto:
    """8-bit convolutions of 16 x 16 numbers: they prepare more than other operators before they start."""
    constants = {
        "w": np.eye(16, dtype=np.int8).reshape(16, 16, 1, 1),
        "one": np.float32(1),
        "ones": np.ones(16, np.float32),
        "za": np.uint8(0),
        "zw": np.zeros(16, np.int8),
    }
    inputs = ["one", "za", "w", "ones", "zw", "one", "za"]
    return _graph([("QLinearConv", [_at(i), *inputs], {}) for i in range(LAUNCHES)], constants, [1, 16, 4, 4], "UINT8")


def _at(index: int) -> str:
    return "a" if index == 0 else f"t{index - 1}"


def _graph(
    operators: list[tuple[str, list[str], dict[str, Any]]],
    constants: Mapping[str, Any],
    shape: list[int],
    element: str = "FLOAT",
) -> ModelProto:
    """A chain of operators; the i-th writes t<i>."""
    from onnx import TensorProto, helper, numpy_helper

    kind = getattr(TensorProto, element)
    nodes = [
        helper.make_node(operator, inputs, [f"t{i}"], **attributes)
        for i, (operator, inputs, attributes) in enumerate(operators)
    ]
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("a", f"t{len(nodes) - 1}")]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "probe", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FP32_PRODUCTS = Probe("fp32 products", "fp32", _fp32_products, products=SIDE**3)
INT8_PRODUCTS = Probe("int8 products", "int8", _int8_products, products=SIDE**3)
OTHER_ARITHMETIC = Probe("other arithmetic", None, _other_arithmetic, flops=LENGTH * ELEMENTS * POINTWISE["Erf"])
MEMORY = Probe("memory", None, _memory, bytes=LENGTH * ELEMENTS * 12)
LAUNCH = Probe("launches", None, _launches, launches=LAUNCHES)
INT8_LAUNCH = Probe("int8 launches", None, _int8_launches, launches=LAUNCHES)
PROBES: dict[str, Probe] = {
    p.name: p for p in (FP32_PRODUCTS, INT8_PRODUCTS, OTHER_ARITHMETIC, MEMORY, LAUNCH, INT8_LAUNCH)
}


def write_probes(folder: Path) -> list[Candidate]:
    """The probes as files, to be timed like any candidate."""
    import onnx

    candidates = []
    for probe in PROBES.values():
        path = folder / f"{probe.name.replace(' ', '_')}.onnx"
        onnx.save(probe.make(), path)
        candidates.append(Candidate(probe.name, PROBE, "onnxruntime", (str(path),), precision=probe.precision))
    return candidates
