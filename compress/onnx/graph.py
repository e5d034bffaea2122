"""What rules, passes and calibration look up in an ONNX model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
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
NOTHING = np.zeros(0)


class Graph:
    """A model with the values of its constants, and who makes and reads each tensor."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes: Sequence[NodeProto] = model.graph.node
        self.constants = constants_of(model)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)

    def of_type(self, *operators: str) -> Iterator[NodeProto]:
        """Nodes with one of these operators."""
        return (node for node in self.nodes if node.op_type in operators)

    def value(self, node: NodeProto, index: int) -> NDArray[Any]:
        """The constant that is this input of a node; empty where there is no such input or it is computed."""
        return self.constants.get(node.input[index], NOTHING) if len(node.input) > index else NOTHING

    def dequantised(self, node: NodeProto, index: int) -> NodeProto | None:
        """The DQ node that makes this input of a node, or None."""
        maker = self.makers.get(node.input[index]) if len(node.input) > index else None
        return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def attribute(node: NodeProto, name: str, default: int) -> int:
    """An integer that a node is given."""
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def constants_of(model: ModelProto) -> dict[str, NDArray[Any]]:
    """Every constant's value."""
    from onnx import numpy_helper  # heavy: the Jetson imports this package without it

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def replace_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Give the graph these nodes, its own among them; constants that nobody reads go, and shapes noted before."""
    nodes = list(nodes)
    graph, read = model.graph, {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    for old, new in ((graph.node, nodes), (graph.initializer, kept)):
        del old[:]
        old.extend(new)
    del graph.value_info[:]


def load_float(source: Path) -> ModelProto:
    """The model of a float file; a UserError for a quantised one."""
    import onnx

    model = onnx.load(source)
    if any(node.op_type in QDQ for node in model.graph.node):
        raise UserError(f"{source} is quantised already: give the float file")
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
