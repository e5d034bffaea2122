"""fp16 ONNX: weights and activations in half precision; what overflows or rounds badly there is computed in fp32.

Some operators are always kept: norms square their input, softmax and means sum over many values. What else is kept
is measured: the range of every tensor over real crops, then the new file, each of its fp16 values really rounded.
Running the file as it is would prove nothing: onnxruntime computes fp16 files in fp32 on CPUs, from one end to the
other, and an overflow on the way does not show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from compress.crops import Crops
from compress.onnx.half_graph import float_sizes, node_name, rounded_to_fp16, to_half
from compress.onnx.quantize import load_float
from runtime.errors import UserError
from runtime.runner import graph_input

if TYPE_CHECKING:
    from onnx import ModelProto

KEEP_FP32_TYPES = ("LayerNormalization", "Softmax", "ReduceMean")
FP16_MAX = 65504.0
# What crops may reach in fp16: other images reach more, and so may the sums on the way to a result.
LARGEST = FP16_MAX / 4
# With nothing above this a tensor's steps are coarser than fp16's rounding of its largest value.
SMALLEST = 2.0**-13
PASS_ELEMENTS = 32 << 20  # of tensors looked at in one pass over the crops: 128 MiB


@dataclass(frozen=True)
class KeptFloat:
    """A node of an fp16 file that is computed in fp32, and why."""

    node: str
    reason: str


def convert_to_fp16(source: Path, target: Path, crops: Crops | None = None) -> tuple[KeptFloat, ...]:
    """Write the fp16 file of a float file, checked on crops (N, S, S, 3); inputs and outputs stay float32.

    Without crops KEEP_FP32_TYPES and what reads constants beyond fp16 are kept, and nothing is checked. UserError,
    naming the operation, where a value is not finite even in fp32.
    """
    import onnx

    model = load_float(source)
    largest = largest_constants(model)
    if crops is not None:
        largest |= largest_values(model, crops)
    kept = out_of_range(model, largest)
    for node in model.graph.node:
        if node.op_type in KEEP_FP32_TYPES:
            kept[node_name(node)] = f"{node.op_type} sums over many values"
    half = to_half(model, kept)
    while crops is not None and (overflow := first_overflow(model, half, crops)) is not None:
        kept |= rescue(model, kept, overflow)
        half = to_half(model, kept)
    onnx.save(half, target)
    return tuple(KeptFloat(*item) for item in kept.items())


def largest_constants(model: ModelProto) -> dict[str, float]:
    """Largest magnitude of every float constant."""
    from onnx import numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {name: float(np.abs(v).max()) for name, v in values.items() if v.dtype == np.float32 and v.size}


def largest_values(model: ModelProto, crops: Crops) -> dict[str, float]:
    """The same of every float tensor that is computed, over crops, in passes of bounded memory.

    UserError, naming the first operation that gives it, for a value that is not finite.
    """
    largest = dict.fromkeys(float_sizes(model), 0.0)
    makers = {name: node for node in model.graph.node for name in node.output}
    for names in in_passes(float_sizes(model), PASS_ELEMENTS):
        for _, values in run_inside(model, names, crops, "ranges for fp16"):
            for name, value in zip(names, values, strict=True):
                if not np.isfinite(value).all():
                    maker = makers[name]
                    raise UserError(f"no fp16: {node_name(maker)} ({maker.op_type}) is not finite even in fp32")
                largest[name] = max(largest[name], float(np.abs(value).max()))
    return largest


def in_passes(sizes: Mapping[str, int], limit: int) -> Iterator[list[str]]:
    """The names in order, in lists whose sizes add up to `limit` at most; one that is larger stands alone."""
    names: list[str] = []
    total = 0
    for name, size in sizes.items():
        if names and total + size > limit:
            yield names
            names, total = [], 0
        names.append(name)
        total += size
    if names:
        yield names


def out_of_range(model: ModelProto, largest: Mapping[str, float]) -> dict[str, str]:
    """Nodes that make or read a tensor that fp16 cannot hold, with the reason."""
    reasons = {name: unfit(value) for name, value in largest.items()}
    found: dict[str, str] = {}
    for node in model.graph.node:
        for name in (*node.output, *node.input):
            if reasons.get(name):
                found.setdefault(node_name(node), f"{name} {reasons[name]}")
    return found


def unfit(largest: float) -> str:
    """What is wrong with fp16 for a tensor of this largest magnitude; empty where nothing is."""
    if largest > LARGEST:
        return f"reaches {largest:.4g}, and fp16 ends at {FP16_MAX:.0f}"
    if 0 < largest < SMALLEST:
        return f"does not pass {largest:.2g}, where fp16 has few digits left"
    return ""


def first_overflow(model: ModelProto, half: ModelProto, crops: Crops) -> str | None:
    """The first node of the float model that is not finite when rounded as in its fp16 model; None: outputs are."""
    rounded = rounded_to_fp16(half)
    outputs = [output.name for output in rounded.graph.output]
    bad = next((crop for crop, values in run_inside(rounded, outputs, crops) if not all_finite(values)), None)
    if bad is None:
        return None
    makers = {name: node_name(node) for node in model.graph.node for name in node.output}
    for names in in_passes(float_sizes(model), PASS_ELEMENTS):
        for _, values in run_inside(rounded, names, bad[None]):
            for name, value in zip(names, values, strict=True):
                if not np.isfinite(value).all():
                    return makers[name]
    raise AssertionError("an output that is not finite is made by some node")


def rescue(model: ModelProto, kept: Mapping[str, str], node: str) -> dict[str, str]:
    """What to keep in fp32 too, as this node overflows: itself, or else the nearest rounded ones before it.

    UserError where nothing before it is rounded.
    """
    makers = {name: maker for maker in model.graph.node for name in maker.output}
    last = next(n for n in model.graph.node if node_name(n) == node)
    if node not in kept:
        return {node: f"{last.op_type} overflows"}
    more: dict[str, str] = {}
    visited = {node}
    waiting = [last]
    while waiting:
        for name in waiting.pop().input:
            if name not in makers or (source := node_name(makers[name])) in visited:
                continue
            visited.add(source)
            if source in kept:
                waiting.append(makers[name])
            else:
                more[source] = f"{node} ({last.op_type}) overflows on its rounded values"
    if not more:
        raise UserError(f"no fp16: {node} ({last.op_type}) is not finite, whatever is kept in fp32; give --fp32")
    return more


def all_finite(values: Sequence[NDArray[Any]]) -> bool:
    """No nan, no infinity."""
    return all(bool(np.isfinite(value).all()) for value in values)


def run_inside(
    model: ModelProto, names: Sequence[str], crops: Crops, label: str = "checking fp16"
) -> Iterator[tuple[NDArray[np.uint8], list[NDArray[Any]]]]:
    """Crop by crop, it and the values of the named tensors."""
    import onnxruntime
    from onnx import ModelProto, helper

    inside = ModelProto()
    inside.CopyFrom(model)
    given = {value.name for value in model.graph.output}
    inside.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in given)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(inside.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for crop in tqdm(crops, desc=label, unit="img", leave=False):
        yield crop, session.run(list(names), {"image": graph_input(crop)})
