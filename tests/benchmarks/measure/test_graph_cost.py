"""Products of graphs and lower bounds, against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from onnx import ModelProto, parser

from benchmarks.measure.graph_cost import count_gmac, lower_bound
from benchmarks.records.record import Artifact, Prediction
from runtime.errors import UserError
from targets import Figure, read_target

GMAC = 8 * 8 * 16 * 4 / 1e9
FLOAT = "out = Conv (image, w)"
INT8 = """
    q = QuantizeLinear (image, s, z)
    d = DequantizeLinear (q, s, z)
    v = QuantizeLinear (w, s, z)
    e = DequantizeLinear (v, s, z)
    out = Conv (d, e)
"""


def convolution(nodes: str = FLOAT, side: int | str = 8) -> ModelProto:
    """A 1 x 1 convolution of 4 channels to 16, in float or between Q and DQ."""
    values = f"float[1, 4, {side}, {side}] image, float[16, 4, 1, 1] w, float s, uint8 z"
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({values}) => (float[1, 16, {side}, {side}] out) {{ {nodes} }}'
    return parser.parse_model(text)


def test_products_by_precision() -> None:
    assert count_gmac(convolution()) == {"fp32": pytest.approx(GMAC)}
    assert count_gmac(convolution(INT8)) == {"int8": pytest.approx(GMAC)}
    with pytest.raises(UserError, match="not fixed"):
        count_gmac(convolution(side="any"))


def test_a_bound_is_the_longer_of_products_and_memory() -> None:
    peaks = {"fp32_gflops": Figure(10.0, "a"), "int8_gops": Figure(40.0, "b"), "memory_gb_s": Figure(1.0, "c")}
    target = replace(read_target("raspberry-pi-5"), figures=peaks)
    gmac = {"int8": 0.2, "fp16": 0.05}
    found = lower_bound(target, Artifact(bytes=1_000_000), gmac)
    assert found == Prediction("raspberry-pi-5", pytest.approx(0.4 / 40 * 1e3 + 0.1 / 10 * 1e3), ["b", "a", "c"])
    large = lower_bound(target, Artifact(bytes=100_000_000), gmac)
    assert isinstance(large, Prediction) and large.lower_bound_ms == pytest.approx(100)
    unknown = replace(target, figures={"fp32_gflops": Figure(10.0, "a")})
    assert isinstance(lower_bound(unknown, Artifact(bytes=5), gmac), str)
    assert isinstance(lower_bound(target, Artifact(bytes=5), {}), str)
