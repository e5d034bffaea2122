"""Products of graphs, shares of a machine's peak and lower bounds, against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.candidates.facts import Facts
from benchmarks.measure.graph_cost import count_gmac
from benchmarks.measure.limits import lower_bound, machine_limits, share_of_limit
from benchmarks.records.record import Artifact, Limit, Prediction
from runtime.errors import UserError
from targets import Figure, read_target
from tests.fixtures.made_records import made_record

SIDE, CHANNELS, OUT = 8, 4, 16
GMAC = SIDE * SIDE * OUT * CHANNELS / 1e9


def convolution(int8: bool = False, side: int | str = SIDE) -> ModelProto:
    """Image -> 1 x 1 convolution, in float or between Q and DQ."""
    constants: dict[str, np.ndarray] = {"s": np.array(0.1, np.float32), "z": np.array(0, np.uint8)}
    constants |= {"w": np.ones((OUT, CHANNELS, 1, 1), np.int8 if int8 else np.float32)}
    nodes = [helper.make_node("Conv", ["image", "w"], ["out"])]
    if int8:
        constants |= {"zw": np.array(0, np.int8)}
        nodes = [
            helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("DequantizeLinear", ["w", "s", "zw"], ["wd"]),
            helper.make_node("Conv", ["d", "wd"], ["out"]),
        ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, CHANNELS, side, side])]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, OUT, side, side])]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("int8", "precision"), [(False, "fp32"), (True, "int8")])
def test_products_by_precision(int8: bool, precision: str) -> None:
    assert count_gmac(convolution(int8)) == {precision: pytest.approx(GMAC)}


def test_shapes_that_are_not_fixed_are_said() -> None:
    with pytest.raises(UserError, match="not fixed"):
        count_gmac(convolution(side="any"))


def test_share_of_the_peak_of_the_rows_own_precision() -> None:
    record = made_record(p50_ms=2.0)
    probe = replace(made_record("int8 products", 0.5), kind="probe")
    limits = machine_limits([record, probe])
    assert probe.latency_ms is not None and record.latency_ms is not None and record.artifact.gmac is not None
    gflops = 2 * 512**3 / 1e6 / probe.latency_ms.p50
    assert limits == {"int8 products": Limit(gflops=pytest.approx(gflops))}
    reached = 2 * record.artifact.gmac / record.latency_ms.p50 * 1e3
    share = share_of_limit(record, limits)
    assert share is not None and share.share_pct == pytest.approx(100 * reached / gflops)
    assert share_of_limit(replace(record, artifact=replace(record.artifact, precision="fp32")), limits) is None


def test_a_bound_is_the_longer_of_products_and_memory() -> None:
    peaks = {"fp32_gflops": Figure(10.0, "a"), "int8_gops": Figure(40.0, "b"), "memory_gb_s": Figure(1.0, "c")}
    target = replace(read_target("raspberry-pi-5"), figures=peaks)
    facts = Facts(Artifact(bytes=1_000_000), gmac={"int8": 0.2, "fp16": 0.05})
    found = lower_bound(target, facts)
    assert found == Prediction("raspberry-pi-5", pytest.approx(0.4 / 40 * 1e3 + 0.1 / 10 * 1e3), ["b", "a", "c"])
    large = lower_bound(target, replace(facts, artifact=Artifact(bytes=100_000_000)))
    assert isinstance(large, Prediction) and large.lower_bound_ms == pytest.approx(100)
    assert "no memory_gb_s" in str(lower_bound(replace(target, figures={"fp32_gflops": Figure(10.0, "a")}), facts))
    assert "does not show its graph" in str(lower_bound(target, Facts(Artifact(bytes=5))))
