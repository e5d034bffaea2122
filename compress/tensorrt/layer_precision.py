"""In which precision the layers of an engine compute, as TensorRT really built them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from runtime.errors import UserError

PRECISIONS = ("int8", "fp16", "fp32")
_OF_TYPE = {"int8": "int8", "half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32"}
# Layers that move, hold or convert data.
_MOVES = re.compile("reformat|shuffle|constant|noop|no_op|signal|wait|slice|concat|copy|cast|quantize")
# What NVIDIA's kernels are called after the types they multiply; int8 first: its tactics name their float result, too.
_OF_TACTIC = {
    "int8": re.compile("i8i8|int8|imma|_s8"),
    "fp16": re.compile("f16f16|fp16|h16816|h884|h1688|_f16"),
    "fp32": re.compile("f32f32|tf32|sgemm|scudnn|_f32"),
}


def engine_layers(information: str, precision: str) -> dict[str, int]:
    """Count the computing layers of a built engine by precision, from the engine inspector's JSON.

    UserError where none computes in the wanted precision: the engine would silently be slower.
    """
    try:
        found = Counter(layer_precision(layer) for layer in json.loads(information)["Layers"])
    except (ValueError, LookupError, TypeError, AttributeError):  # without detailed verbosity layers are names
        raise UserError("TensorRT's engine inspector does not describe layers: precision cannot be checked") from None
    layers = {name: found[name] for name in PRECISIONS if found[name]}
    if precision not in layers:
        has = ", ".join(f"{count} in {name}" for name, count in layers.items()) or "none at all"
        raise UserError(f"no layer of the engine computes in {precision} ({has}): it would be {precision} by name only")
    return layers


def layer_precision(layer: Mapping[str, Any]) -> str | None:
    """Return that of one layer of the inspector's JSON; None for one that only moves data.

    Types of the inputs alone mislead: a float convolution may read int8. Weights say it best, then the kernel's name.
    """
    weights = _OF_TYPE.get(layer.get("Weights", {}).get("Type", "").lower())
    if weights is not None or _MOVES.search(layer.get("LayerType", "").lower()):
        return weights
    tactic = layer.get("TacticName", "").lower()
    # Formats begin with the type: `Int8 NC/32HW32`, `Half`, `Row major linear FP16 format` in older versions.
    tensors = [tensor for side in ("Inputs", "Outputs") for tensor in layer.get(side, ())]
    words = re.split(r"\W+", " ".join(tensor.get("Format/Datatype", "") for tensor in tensors).lower())
    by_tactic = [precision for precision, marks in _OF_TACTIC.items() if marks.search(tactic)]
    by_tensors = [precision for precision in PRECISIONS if precision in {_OF_TYPE.get(word) for word in words}]
    return next(iter(by_tactic + by_tensors), None)
