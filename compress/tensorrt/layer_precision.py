"""In which precision layers compute: as the graph asks for it, and as TensorRT really built them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runtime.errors import UserError

if TYPE_CHECKING:
    import tensorrt as trt

PRECISIONS = ("int8", "fp16", "fp32")
_OF_TYPE = {"int8": "int8", "half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32"}
# Layers that move, hold or convert data.
_MOVES = re.compile("reformat|shuffle|constant|noop|no_op|signal|wait|slice|concat|copy|cast|quantize")
# What NVIDIA's kernels are called after the types they multiply; int8 first: its tactics name their float result, too.
_OF_TACTIC = (
    ("int8", ("i8i8", "int8", "imma", "_s8")),
    ("fp16", ("f16f16", "fp16", "h16816", "h884", "h1688", "_f16")),
    ("fp32", ("f32f32", "tf32", "sgemm", "scudnn", "_f32")),
)


def graph_layers(trt_module: Any, network: trt.INetworkDefinition) -> dict[str, int]:
    """Convolutions and matrix products of a parsed network by the precision of what they multiply.

    A layer is int8 where its first input comes from a DQ, straight or through reshapes.
    """
    types = trt_module.LayerType
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    makers = {layer.get_output(i).name: layer for layer in layers for i in range(layer.num_outputs)}
    floats = {trt_module.DataType.HALF: "fp16", trt_module.DataType.FLOAT: "fp32"}
    found: Counter[str] = Counter()
    for layer in layers:
        if layer.type not in (types.CONVOLUTION, types.MATRIX_MULTIPLY):
            continue
        maker = makers.get(layer.get_input(0).name)
        while maker is not None and maker.type == types.SHUFFLE:
            maker = makers.get(maker.get_input(0).name)
        is_int8 = maker is not None and maker.type == types.DEQUANTIZE
        found["int8" if is_int8 else floats.get(layer.get_output(0).dtype, "fp32")] += 1
    return _ordered(found)


def engine_layers(information: str) -> dict[str, int]:
    """Computing layers of a built engine by precision, from the engine inspector's JSON.

    Needs an engine built with detailed profiling verbosity; what only moves data is not counted.
    """
    try:
        layers = json.loads(information)["Layers"]
        if not isinstance(layers, list):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise UserError("TensorRT's engine inspector gave no list of layers: its precision cannot be checked") from None
    found: Counter[str] = Counter()
    for layer in layers:
        if not isinstance(layer, Mapping):
            raise UserError("the engine says nothing of its layers: it was built without detailed verbosity")
        if (precision := layer_precision(layer)) is not None:
            found[precision] += 1
    return _ordered(found)


def layer_precision(layer: Mapping[str, Any]) -> str | None:
    """Of one layer of the inspector's JSON; None for one that only moves data.

    Types of the inputs alone mislead: a float convolution may read int8. Weights say it best, then the kernel's name.
    """
    weights = layer.get("Weights")
    if isinstance(weights, Mapping) and (of_weights := _OF_TYPE.get(str(weights.get("Type", "")).lower())):
        return of_weights
    if _MOVES.search(str(layer.get("LayerType", "")).lower()):
        return None
    tactic = str(layer.get("TacticName", "")).lower()
    for precision, marks in _OF_TACTIC:
        if any(mark in tactic for mark in marks):
            return precision
    sides = [layer.get(side) for side in ("Inputs", "Outputs")]
    types = [_tensor_type(tensor) for side in sides if isinstance(side, list) for tensor in side]
    return next((precision for precision in PRECISIONS if precision in types), None)


def check_layers(layers: Mapping[str, int], precision: str) -> None:
    """A UserError where nothing computes in the precision that was asked for: the engine would silently be slower."""
    if not layers.get(precision):
        has = ", ".join(f"{count} in {name}" for name, count in layers.items()) or "none at all"
        raise UserError(f"no layer of the engine computes in {precision} ({has}): it would be {precision} by name only")


def _tensor_type(tensor: object) -> str | None:
    """Formats begin with the type: `Int8 NC/32HW32`, `Half`, `Row major linear FP16 format` in older versions."""
    if not isinstance(tensor, Mapping):
        return None
    words = str(tensor.get("Format/Datatype", tensor.get("Format", ""))).lower().replace(":", " ").split()
    return next((_OF_TYPE[word] for word in words if word in _OF_TYPE), None)


def _ordered(found: Mapping[str, int]) -> dict[str, int]:
    return {name: found[name] for name in PRECISIONS if found.get(name)}
