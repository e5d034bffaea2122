"""An int8 file without the rounding of its activations, to compare it with the network that was trained for it.

Two exact implementations of one int8 network do not give the same hands: where a sum lies between two integers, the
last bit of its arithmetic decides, and every layer amplifies that. With its graph optimisations off, onnxruntime
differs from itself by 0.3 mm per vertex (er-xs). Clipped to their ranges but not rounded, both agree to the last
digits, if they have the same integer weights and the same ranges in the same places.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.int8_rules import Affine

if TYPE_CHECKING:
    from onnx import ModelProto


def without_rounding(path: Path) -> ModelProto:
    """The model with a Clip to their range in place of every rounding of activations (QuantizeLinear)."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero_point = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
            names = [f"{node.output[0]}_{end}" for end in ("low", "high")]
            for name, limit in zip(names, Affine(float(scale), int(zero_point)).limits, strict=True):
                model.graph.initializer.append(numpy_helper.from_array(np.float32(limit), name))
            node = helper.make_node("Clip", [node.input[0], *names], node.output, node.name)
        elif node.op_type == "DequantizeLinear" and node.input[0] not in constants:
            node = helper.make_node("Identity", node.input[:1], node.output, node.name)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
