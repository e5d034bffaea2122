"""What every layer of an ONNX graph has to do at least: products, other arithmetic, bytes.

A layer is a node with what an engine computes along with it; reshapes move nothing, and an operator between
DequantizeLinear and QuantizeLinear works on 8-bit tensors. Shapes are those of ONNX's own inference: nothing is run.

How much engines fuse differs, `fuses` says it. True, as in TensorRT and Core ML: any pointwise operator joins the layer
whose result only it reads, and conversions between 8 bits and float cost nothing. False, as in onnxruntime on CPUs:
activations, biases and residuals join their convolution or linear, the five operators of GELU are one, and the rest,
conversions too, is a pass over the tensor each; a reshape is a launch. There an 8-bit operator also converts: its sums
to 8 bits, and what it adds from them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.backends.opening import check_model_file
from runtime.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorShapeProto

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FREE = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Constant", "Shape", "Dropout")
MOVES_PART = ("Slice", "Split", "Gather")  # they read no more than they give
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# Operators that engines compute on 8-bit tensors; those without products only where their result is 8-bit, too.
INT8_OPERATORS = (*PRODUCTS, "Add", "Mul", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "Clip")
# Floating point operations per element of the result: polynomials of the usual length for Erf, Exp and their kin.
POINTWISE = {
    "Add": 1, "Sub": 1, "Mul": 1, "Div": 1, "Neg": 1, "Abs": 1, "Relu": 1, "Clip": 2, "Min": 1, "Max": 1, "PRelu": 2,
    "LeakyRelu": 2, "Where": 1, "HardSigmoid": 3, "HardSwish": 4, "Sqrt": 4, "Reciprocal": 2, "Pow": 20, "Exp": 15,
    "Log": 15, "Tanh": 20, "Sigmoid": 20, "Erf": 25, "Gelu": 29, "Cast": 1, QUANTIZE: 4, DEQUANTIZE: 2,
}  # fmt: skip
OTHERS = {"Softmax": 20, "LayerNormalization": 10, "BatchNormalization": 2, "Resize": 6, "MaxPool": 9}
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "PRelu")
REDUCTIONS = ("GlobalAveragePool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2")  # one operation per input
# With fewer inputs per output channel a convolution of many groups is no matrix product.
DENSE_INPUTS = 8


@dataclass(frozen=True)
class Layer:
    """One layer."""

    name: str  # of its first node
    operator: str  # of its first node
    precision: str  # of its products: fp32, fp16, int8
    products: int  # multiply-accumulates that matrix units can do
    depthwise: int  # multiply-accumulates that they cannot
    flops: int  # all other arithmetic
    bytes: int  # every input, weight and output once
    nodes: tuple[str, ...]  # names of all its nodes
    outputs: tuple[str, ...]  # tensors that other layers or the caller read


def read_layers(path: Path, fuses: bool) -> list[Layer]:
    """The layers of an ONNX file; a UserError where it is none, or its shapes are not fixed."""
    import onnx

    check_model_file(path)
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's errors have no class in common
        raise UserError(f"{path} is not an ONNX file ({str(error).splitlines()[0][:100]})") from None
    try:
        return layers_of(model, fuses)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def gmac(layers: list[Layer]) -> float:
    """Multiply-accumulates of convolutions, linears and attention products, 10^9."""
    return sum(layer.products + layer.depthwise for layer in layers) / 1e9


def layers_of(model: ModelProto, fuses: bool) -> list[Layer]:
    """The layers of a graph, in its order; a ValueError where a shape is not fixed."""
    graph = _Graph(model, fuses)
    layers: list[_Layer] = []
    made_by: dict[str, _Layer] = {}  # by tensor
    for node in graph.nodes:
        if node.op_type in FREE:
            layers.append(_Layer([node]))
            continue
        layer = graph.host(node, made_by)
        if layer is None:
            layer = _Layer()
            layers.append(layer)
        graph.add(node, layer)
        made_by |= dict.fromkeys(node.output, layer)
    return [graph.finish(layer) for layer in layers]


@dataclass
class _Layer:
    """A layer in the making."""

    nodes: list[NodeProto] = field(default_factory=list)
    read_bytes: dict[str, int] = field(default_factory=dict)  # by tensor from outside
    precision: str = "fp32"
    products: int = 0
    depthwise: int = 0
    flops: int = 0


class _Graph:
    """A graph whose reshapes, and whose Q/DQ where they cost nothing, are looked through."""

    def __init__(self, model: ModelProto, fuses: bool) -> None:
        import onnx

        self._fuses = fuses
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self._shape = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._item = {tensor.name: _item_bytes(tensor.data_type) for tensor in graph.initializer}
        for value in [*graph.input, *graph.output, *graph.value_info]:
            kind = value.type.tensor_type
            self._shape.setdefault(value.name, tuple(map(_size, kind.shape.dim)))
            self._item.setdefault(value.name, _item_bytes(kind.elem_type))
        self._given = {value.name for value in graph.output}
        self._maker = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._users[name].append(node)
        self._constants = {tensor.name for tensor in graph.initializer}
        self._constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}

        def passes(node: NodeProto) -> bool:
            if node.op_type in (QUANTIZE, DEQUANTIZE):
                return fuses or self._conversion_is_free(node)
            return node.op_type in FREE

        looked_through = [node for node in graph.node if passes(node)]
        self._alias = {node.output[0]: node.input[0] for node in looked_through if node.op_type != "Constant"}
        skipped = {id(node) for node in looked_through}
        moving = [node for node in graph.node if self._root(node.output[0]) not in self._constants]
        working = [node for node in moving if id(node) not in skipped]
        # What becomes a layer, or a part of one.
        self.nodes = working if fuses else [node for node in moving if id(node) not in skipped or node.op_type in FREE]
        self._readers: dict[str, list[NodeProto]] = defaultdict(list)  # by root
        for node in working:
            for name in dict.fromkeys(self._root(name) for name in node.input):
                self._readers[name].append(node)
        self._given_roots = {self._root(name) for name in self._given}
        self._joins = None if fuses else self._joining(graph.node)

    def _root(self, name: str) -> str:
        """The tensor that holds the numbers."""
        while name in self._alias:
            name = self._alias[name]
        return name

    def _comes_as_int8(self, name: str) -> bool:
        """Whether a DequantizeLinear gives the tensor, perhaps reshaped."""
        while (maker := self._maker.get(name)) is not None and maker.op_type in FREE and maker.input:
            name = maker.input[0]
        return maker is not None and maker.op_type == DEQUANTIZE

    def _leaves_as_int8(self, node: NodeProto) -> bool:
        """Whether nothing but QuantizeLinear reads what a node, or the activation right after it, gives."""
        users = self._users[node.output[0]]
        if len(users) == 1 and users[0].op_type in ("Relu", "Clip"):
            return self._leaves_as_int8(users[0])
        return node.output[0] not in self._given and all(user.op_type == QUANTIZE for user in users)

    def _is_int8(self, node: NodeProto) -> bool:
        """Whether a node works on 8-bit tensors."""
        if node.op_type not in INT8_OPERATORS:
            return False
        read = node.input[:2] if node.op_type in PRODUCTS else node.input
        if not all(self._comes_as_int8(name) for name in read if name):
            return node.op_type in ("Relu", "Clip") and self._follows_int8(node)
        return node.op_type in PRODUCTS or self._leaves_as_int8(node)

    def _follows_int8(self, node: NodeProto) -> bool:
        maker = self._maker.get(node.input[0])
        return maker is not None and maker.op_type in ("Conv", "Gemm", "MatMul", "Add") and self._is_int8(maker)

    def _conversion_is_free(self, node: NodeProto) -> bool:
        """In an engine that fuses conversions into 8-bit operators alone."""
        if node.op_type == QUANTIZE:
            maker = self._maker.get(node.input[0])
            return maker is not None and self._is_int8(maker)
        if node.input[0] in self._constants:
            return True
        if node.output[0] in self._given:
            return False
        users = list(self._users[node.output[0]])
        while users:
            user = users.pop()
            if user.op_type in FREE:
                users += self._users[user.output[0]]
            elif not self._is_int8(user):
                return False
        return True

    def _elements(self, name: str) -> int:
        shape = self._shape.get(name)
        if shape is None or any(size < 0 for size in shape):
            raise ValueError(f"the shape of '{name[:80]}' is not fixed, so its cost cannot be known")
        return math.prod(shape)

    def _joining(self, nodes: Iterable[NodeProto]) -> set[int]:
        """The nodes (by id) that onnxruntime computes along with what stands before them."""
        joining = set()
        for node in nodes:
            makers = [self._maker.get(name) for name in node.input]
            operators = {maker.op_type for maker in makers if maker is not None and not self._is_int8(maker)}
            constant = any(self._root(name) in self._constants for name in node.input)
            follows_int8 = node.op_type in ("Relu", "Clip") and self._is_int8(node)
            activates = node.op_type in ACTIVATIONS and operators & {"Conv", "Gemm"}
            adds = node.op_type == "Add" and ("Conv" in operators or ("MatMul" in operators and constant))
            if follows_int8 or activates or adds:
                joining.add(id(node))
            if node.op_type == "Erf" and not self._comes_as_int8(node.input[0]):
                joining |= self._rest_of_gelu(node)
        return joining

    def _rest_of_gelu(self, erf: NodeProto) -> set[int]:
        """Of x -> Div -> Erf -> Add -> Mul by x -> Mul, all but the first, where x is a float tensor."""
        scale, found = self._maker.get(erf.input[0]), [erf]
        while len(found) < 4 and len(users := self._users[found[-1].output[0]]) == 1:
            found.append(users[0])
        kinds = [node.op_type for node in found]
        if scale is None or scale.op_type not in ("Div", "Mul") or kinds != ["Erf", "Add", "Mul", "Mul"]:
            return set()
        return set() if self._comes_as_int8(scale.input[0]) else {id(node) for node in found}

    def host(self, node: NodeProto, made_by: dict[str, _Layer]) -> _Layer | None:
        """The layer a pointwise node can join: one whose result only this node reads."""
        if node.op_type not in POINTWISE or node.op_type in (QUANTIZE, DEQUANTIZE):
            return None
        if self._joins is not None and id(node) not in self._joins:
            return None
        for name in reversed(node.input):
            root = self._root(name)
            alone = len(self._readers[root]) == 1 and root not in self._given_roots
            if root in made_by and alone and made_by[root].nodes[0].op_type not in (QUANTIZE, DEQUANTIZE):
                return made_by[root]
        return None

    def add(self, node: NodeProto, layer: _Layer) -> None:
        """Count a node into its layer."""
        layer.nodes.append(node)
        inside = {output for other in layer.nodes for output in other.output}
        outputs = sum(self._elements(name) for name in node.output if name)
        for name in node.input:
            if name and self._root(name) not in inside:
                read = self._read_bytes(node, name)
                layer.read_bytes[self._root(name)] = min(read, outputs * 4) if node.op_type in MOVES_PART else read
        if not self._fuses and self._is_int8(node):
            layer.flops += outputs * self._conversions_per_output(node)
        if node.op_type in PRODUCTS:
            products = outputs * self._products_per_output(node)
            if self._is_depthwise(node):
                layer.depthwise += products
            else:
                layer.products += products
            layer.precision = self._precision(node)
        else:
            layer.flops += outputs * POINTWISE.get(node.op_type, OTHERS.get(node.op_type, 0))
            layer.flops += self._elements(node.input[0]) if node.op_type in REDUCTIONS else 0

    def _conversions_per_output(self, node: NodeProto) -> int:
        """Operations of an 8-bit operator: 32-bit sums become floats, scaled and rounded; addends become floats."""
        if node.op_type in PRODUCTS:
            return POINTWISE["Cast"] + POINTWISE[QUANTIZE]
        return len(node.input) * POINTWISE[DEQUANTIZE] + POINTWISE[QUANTIZE] if node.op_type in ("Add", "Mul") else 0

    def _read_bytes(self, node: NodeProto, name: str) -> int:
        root = self._root(name)
        eight_bits = self._comes_as_int8(name) and (root != name or self._is_int8(node))
        return self._elements(root) * (1 if eight_bits else self._item.get(root, 4))

    def _products_per_output(self, node: NodeProto) -> int:
        weight = self._shape[self._root(node.input[1])]
        if node.op_type == "Conv":
            return math.prod(weight[1:])
        if node.op_type == "ConvTranspose":
            stride = math.prod(next((a.ints for a in node.attribute if a.name == "strides"), [1]))
            return weight[0] * math.prod(weight[2:]) // stride
        first = self._shape[node.input[0]]  # as the node sees it, not through reshapes
        return first[-2] if any(a.name == "transA" and a.i for a in node.attribute) else first[-1]

    def _is_depthwise(self, node: NodeProto) -> bool:
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        return node.op_type == "Conv" and groups > 1 and self._shape[self._root(node.input[1])][1] < DENSE_INPUTS

    def _precision(self, node: NodeProto) -> str:
        if self._is_int8(node):
            return "int8"
        return "fp16" if self._item.get(self._root(node.input[0])) == 2 else "fp32"

    def finish(self, layer: _Layer) -> Layer:
        """The layer with what it writes."""
        inside = {id(node) for node in layer.nodes}
        made = [name for node in layer.nodes for name in node.output if name]
        outputs = [
            name
            for name in made
            if name in self._given_roots or any(id(reader) not in inside for reader in self._readers[name])
        ]
        written = 0
        for name in outputs:
            maker = self._maker[name]
            int8 = maker.op_type == QUANTIZE or (self._is_int8(maker) and self._leaves_as_int8(maker))
            written += self._elements(name) * (1 if int8 else self._item.get(name, 4))
        names = tuple(node.name or node.output[0] for node in layer.nodes)
        counts = (layer.products, layer.depthwise, layer.flops, sum(layer.read_bytes.values()) + written)
        return Layer(names[0], layer.nodes[0].op_type, layer.precision, *counts, names, tuple(outputs))


def _size(dim: TensorShapeProto.Dimension) -> int:
    """-1 where it is not fixed."""
    return int(dim.dim_value) if dim.HasField("dim_value") else -1


def _item_bytes(element_type: int) -> int:
    import onnx

    try:
        return int(onnx.helper.tensor_dtype_to_np_dtype(element_type).itemsize)
    except KeyError:  # a type numpy lacks
        return 4
