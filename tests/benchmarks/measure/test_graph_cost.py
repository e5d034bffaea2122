"""Work and bounds of layers, against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.measure.graph_cost import gmac, layers_of
from benchmarks.measure.roofline import Ceilings, bounds, total_ms

SIDE, CHANNELS, OUT = 8, 4, 16
PIXELS = SIDE * SIDE
PRODUCTS = PIXELS * OUT * CHANNELS


def convolution(int8: bool) -> ModelProto:
    """Image -> 1 x 1 convolution -> ReLU, in float or between Q and DQ."""
    weight = np.ones((OUT, CHANNELS, 1, 1), np.int8 if int8 else np.float32)
    constants: dict[str, np.ndarray] = {"w": weight, "s": np.array(0.1, np.float32), "z": np.array(0, np.uint8)}
    constants |= {"ws": np.full(OUT, 0.1, np.float32), "wz": np.zeros(OUT, np.int8)}
    nodes = [helper.make_node("Conv", ["image", "w"], ["c"], "conv"), helper.make_node("Relu", ["c"], ["out"], "relu")]
    if int8:
        nodes = [
            helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"], "quantize"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "dequantize"),
            helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "weight", axis=0),
            helper.make_node("Conv", ["d", "wd"], ["c"], "conv"),
            helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"], "output"),
            helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["out"], "float_again"),
        ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, CHANNELS, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, OUT, SIDE, SIDE])]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("fuses", [False, True])
def test_a_float_convolution_and_its_relu_are_one_layer(fuses: bool) -> None:
    (layer,) = layers_of(convolution(int8=False), fuses)
    assert (layer.name, layer.precision, layer.products, layer.depthwise) == ("conv", "fp32", PRODUCTS, 0)
    assert layer.flops == PIXELS * OUT
    assert layer.bytes == 4 * (PIXELS * CHANNELS + OUT * CHANNELS + PIXELS * OUT)


def test_an_int8_convolution_converts_its_sums_where_engines_do_not_fuse() -> None:
    quantize, layer, dequantize = layers_of(convolution(int8=True), fuses=False)
    assert (layer.name, layer.precision, layer.products) == ("conv", "int8", PRODUCTS)
    assert layer.flops == (1 + 4) * PIXELS * OUT  # a cast, and what QuantizeLinear does
    weight_scales = 4 * OUT
    assert PIXELS * (CHANNELS + OUT) < layer.bytes <= PIXELS * (CHANNELS + OUT) + OUT * CHANNELS + weight_scales
    assert (quantize.flops, dequantize.flops) == (4 * PIXELS * CHANNELS, 2 * PIXELS * OUT)


def test_where_they_fuse_conversions_cost_nothing() -> None:
    (layer,) = layers_of(convolution(int8=True), fuses=True)
    assert (layer.precision, layer.products, layer.flops) == ("int8", PRODUCTS, 0)
    assert gmac([layer]) == PRODUCTS / 1e9


def test_a_bound_is_the_longer_of_two_and_a_launch() -> None:
    layers = layers_of(convolution(int8=True), fuses=False)
    rates = {"fp32": 1.0, "int8": 4.0}
    ceilings = Ceilings("made", rates, 2.0, 1000.0, {"fp32": 5.0, "int8": 7.0}, fuses=False, sources=())
    quantize, conv, dequantize = bounds(layers, ceilings)
    assert conv.arithmetic_ms == pytest.approx((2 * PRODUCTS / 4.0 + 5 * PIXELS * OUT / 2.0) / 1e6)
    assert conv.memory_ms == pytest.approx(layers[1].bytes / 1000 / 1e6)
    assert conv.ms == pytest.approx(conv.arithmetic_ms + 7.0 / 1e3)
    assert quantize.launch_ms == dequantize.launch_ms == 5.0 / 1e3
    assert total_ms([quantize, conv]) == pytest.approx(quantize.ms + conv.ms)
    unknown = bounds(layers, Ceilings("made", rates, 2.0, 1e-3, None, fuses=False, sources=()))[1]
    assert unknown.ms == unknown.memory_ms == pytest.approx(layers[1].bytes / 1e-3 / 1e6)
