"""What rules, passes and calibration look up in an ONNX model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from compress.crops import Crops
from runtime.backends.contract import INPUT_NAME
from runtime.backends.session import open_session
from runtime.errors import UserError
from runtime.runner import graph_input

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

QDQ = ("QuantizeLinear", "DequantizeLinear")


class Graph:
    """A model with its constants, and who makes and reads each tensor."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import numpy_helper  # heavy: the Jetson imports this package without it

        self.model = model
        self.nodes: Sequence[NodeProto] = model.graph.node
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._array = numpy_helper.to_array
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a constant, None for a computed tensor."""
        return self._array(self._tensors[name]) if name in self._tensors else None

    def of_type(self, *operators: str) -> Iterator[NodeProto]:
        """Nodes with one of these operators."""
        return (node for node in self.nodes if node.op_type in operators)

    def zero_point(self, node: NodeProto) -> NDArray[Any] | None:
        """Of a Q or DQ node; None where it is left out, which means 0."""
        return self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None

    def dequantised_weight(self, node: NodeProto) -> NodeProto | None:
        """The DQ node that makes a node's weight from a constant, or None."""
        maker = self.makers.get(node.input[1])
        is_one = maker is not None and maker.op_type == "DequantizeLinear"
        return maker if is_one and maker is not None and self.constant(maker.input[0]) is not None else None

    def rounded(self, name: str) -> bool:
        """Whether a tensor is an activation fresh from a DQ."""
        maker = self.makers.get(name)
        return maker is not None and maker.op_type == "DequantizeLinear" and self.constant(maker.input[0]) is None


def load_float(source: Path) -> ModelProto:
    """The model of a float file; a UserError for a quantised one or for weights that are not finite."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    if any(node.op_type in QDQ for node in model.graph.node):
        raise UserError(f"{source} is quantised already: give the float file")
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise UserError(f"{source}: {tensor.name} is not finite; these weights are broken")
    return model


def values_inside(
    model: ModelProto, names: Sequence[str], crops: Crops, label: str
) -> Iterator[dict[str, NDArray[Any]]]:
    """Crop by crop the values of the named tensors."""
    from onnx import ModelProto, helper

    inside = ModelProto()
    inside.CopyFrom(model)
    outside = {value.name for value in [*model.graph.input, *model.graph.output]}
    inside.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in outside)
    session = open_session(inside.SerializeToString())
    computed = [name for name in names if name != INPUT_NAME]
    for crop in tqdm(crops, desc=label, unit="img", leave=False):
        image = graph_input(crop)
        yield {INPUT_NAME: image, **dict(zip(computed, session.run(computed, {INPUT_NAME: image}), strict=True))}
