"""fp16 ONNX: weights and activations in half precision; what overflows or rounds badly there is computed in fp32.

Some operators are always kept: norms square their input, softmax and means sum over many values. What else is kept
is measured: the range of every tensor over real crops. Running the file would prove nothing: onnxruntime computes fp16
files in fp32 on CPUs, from one end to the other, and an overflow on the way does not show.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.crops import Crops
from compress.onnx.graph import constants_of, load_float, values_inside
from runtime.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto

KEEP_FP32_TYPES = ("LayerNormalization", "Softmax", "ReduceMean")
FP16_MAX = 65504.0
# What crops may reach in fp16: other images reach more, and so may the sums on the way to a result.
LARGEST = FP16_MAX / 4
# With nothing above this a tensor's steps are coarser than fp16's rounding of its largest value.
SMALLEST = 2.0**-13


def convert_to_fp16(source: Path, target: Path, crops: Crops) -> dict[str, str]:
    """Write the fp16 file of a float file, ranges measured on crops (N, S, S, 3); inputs and outputs stay float32.

    Gives the nodes that are computed in fp32, with the reason. UserError, naming the operation, where a value is not
    finite even in fp32.
    """
    import onnx

    model = load_float(source)
    kept = out_of_range(model, crops)
    for node in model.graph.node:
        if node.op_type in KEEP_FP32_TYPES:
            kept[node.name] = f"{node.op_type} sums over many values"
    onnx.save(to_half(model, kept), target)
    return kept


def out_of_range(model: ModelProto, crops: Crops) -> dict[str, str]:
    """Nodes that make or read a tensor that fp16 cannot hold, with the reason."""
    constants = {name: value for name, value in constants_of(model).items() if value.dtype == np.float32 and value.size}
    largest = {name: float(np.abs(value).max()) for name, value in constants.items()}
    computed = float_tensors(model)
    for values in values_inside(model, computed, crops, "ranges for fp16"):
        for name in computed:
            if not np.isfinite(values[name]).all():
                maker = next(node for node in model.graph.node if name in node.output)
                raise UserError(f"no fp16: {maker.name} ({maker.op_type}) is not finite even in fp32")
            largest[name] = max(largest.get(name, 0.0), float(np.abs(values[name]).max()))
    found: dict[str, str] = {}
    for node in model.graph.node:
        for name in (*node.output, *node.input):
            value = largest.get(name, 0.0)
            if value > LARGEST:
                found.setdefault(node.name, f"{name} reaches {value:.4g}, and fp16 ends at {FP16_MAX:.0f}")
            elif 0 < value < SMALLEST:
                found.setdefault(node.name, f"{name} does not pass {value:.2g}, where fp16 has few digits left")
    return found


def float_tensors(model: ModelProto) -> list[str]:
    """Every float32 tensor that a node makes, in order."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*inferred.value_info, *inferred.output]}
    made = [name for node in model.graph.node for name in node.output]
    return [name for name in made if types.get(name) == onnx.TensorProto.FLOAT]


def to_half(model: ModelProto, kept: Iterable[str]) -> ModelProto:
    """The model with all float nodes but the `kept` ones in fp16; inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    own = onnx.ModelProto()  # the converter changes what it is given
    own.CopyFrom(model)
    half = OnnxModel(convert_float_to_float16(own, keep_io_types=True, op_block_list=[], node_block_list=list(kept)))
    # What lies between two kept nodes was turned into fp16, where it overflows, and back.
    half.remove_cascaded_cast_nodes()
    half.remove_useless_cast_nodes()
    half.topological_sort()
    onnx.checker.check_model(half.model, full_check=True)
    return half.model
