"""Flavour `coreml-w8`, smaller and not faster: weights as int8, everything computed in float as before.

For devices whose int8 gains nothing, where the size of the download counts: no activation is rounded, so that the
hands are those of the float file on every CPU. The weights are turned back by a Cast and a Mul, which onnxruntime
does once, when it loads the file. DequantizeLinear it repeats for every image: er-xs took 1.6 times as long.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.onnx import lint_rules as rules
from compress.onnx.calibration import Ranges
from compress.onnx.quantize import QuantizedNodes, load_float
from compress.onnx.storage import compact_exactly, store_as_int8
from training.int8_rules import QuantizeSpec

if TYPE_CHECKING:
    from onnx import ModelProto

RULES = (*rules.COMMON, rules.opset(17, 20), rules.weights_alone)


def write(source: Path, target: Path, nodes: QuantizedNodes, ranges: Ranges, spec: QuantizeSpec) -> None:
    """The file of a float file; every large weight is stored, whatever `nodes` and `spec` say."""
    store_weights(source, target)


def rounded_tensors(model: ModelProto, nodes: QuantizedNodes) -> tuple[str, ...]:
    """None: no activation is rounded."""
    return ()


def store_weights(source: Path, target: Path) -> tuple[str, ...]:
    """Write a float file with its large constants as int8, one scale per output channel; the names of these.

    UserError for a quantised file or for weights that are not finite.
    """
    import onnx

    model = load_float(source)
    stored = store_as_int8(model)
    turn_back_at_load(model)
    compact_exactly(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
    return stored


def turn_back_at_load(model: ModelProto) -> None:
    """Cast and Mul, which runtimes fold, in place of every DequantizeLinear of a constant."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            nodes.append(node)
            continue
        integers, scale = node.input[:2]
        shape = np.ones(len(constants[integers].dims), int)
        shape[node.attribute[0].i] = -1
        rows = numpy_helper.to_array(constants[scale]).reshape(shape)
        constants[scale].CopyFrom(numpy_helper.from_array(rows, scale))
        floats = f"{integers}_float"
        nodes.append(helper.make_node("Cast", [integers], [floats], f"{node.name}_cast", to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [floats, scale], node.output, f"{node.name}_scale"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
