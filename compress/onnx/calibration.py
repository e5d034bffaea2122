"""Ranges of a float graph's tensors over calibration crops: measured once per graph, crops and method, then read.

`percentile` leaves out the outermost values, `minmax` does not. On 1000 synthetic test
images int8 lost 0.05, 0.04, 0.01 mm by percentile and 0.17, 0.04, 0.08 mm by minmax (er-s, er-xs, er-nano).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.crops import Crops, digest
from compress.onnx.graph import values_inside
from compress.onnx.quantize import Affine
from runtime.errors import UserError
from runtime.files import write_text_atomic
from training.data.cache import cache_dir

if TYPE_CHECKING:
    from onnx import ModelProto

DEFAULT_METHOD = "percentile"
METHODS: dict[str, dict[str, float]] = {  # with their settings
    "percentile": {"percentile": 99.99},  # % of the values that are kept
    "minmax": {},
}
FORMAT = 2  # of the cached ranges
SAMPLES = 16384  # about so many values of a tensor and crop are looked at
ACTIVATION_MAX = 255  # activations are uint8 with a zero point
MIN_SPAN = 1e-8  # a tensor that never changes has no range

Ranges = dict[str, tuple[float, float]]  # smallest and largest value by tensor


def calibrate(source: Path, tensors: Iterable[str], crops: Crops, method: str) -> Ranges:
    """Ranges of `tensors` of the float file over crops (N, S, S, 3), from the cache where they were measured before.

    UserError where the graph's values are not finite.
    """
    import onnx

    model = onnx.load(source)
    names = sorted(set(tensors))
    facts = {"graph": graph_sha256(model), "crops": digest(crops), "tensors": names, "format": FORMAT}
    key = json.dumps({**facts, "method": method, **METHODS[method]}, sort_keys=True)
    path = cache_dir() / "calibration" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["ranges"]
        return {name: (float(low), float(high)) for name, (low, high) in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none there, or damaged
        ranges = _measure(model, names, crops, method)
    with suppress(OSError, UserError):  # measured again next time, where nothing can be kept
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, json.dumps({"format": FORMAT, "ranges": ranges}))
    return ranges


def graph_sha256(model: ModelProto) -> str:
    """Of the computation alone: nodes, weights, inputs and outputs, without passport and names of tools."""
    import onnx

    bare = onnx.ModelProto()
    bare.graph.CopyFrom(model.graph)
    del bare.graph.value_info[:]
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def affine_of(low: float, high: float) -> Affine:
    """The uint8 rounding of a range: 0 is always one of its values, as padding and ReLU want it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / ACTIVATION_MAX)) if high - low > MIN_SPAN else 1.0
    return Affine(scale, int(np.clip(round(-low / scale), 0, ACTIVATION_MAX)))


class _Largest:
    """The `count` largest of all values that were added."""

    def __init__(self, count: int) -> None:
        self.count, self.values = count, np.empty(0, np.float32)

    def add(self, values: NDArray[np.float32]) -> None:
        if len(self.values) == self.count:
            values = values[values > self.values.min()]
        values = np.concatenate([self.values, values])
        self.values = np.partition(values, -self.count)[-self.count :] if len(values) > self.count else values


def _measure(model: ModelProto, names: list[str], crops: Crops, method: str) -> Ranges:
    """One pass: minima and maxima of all values, or the ends of a regular sample that the method leaves out."""
    left_out = (100 - METHODS[method]["percentile"]) / 200 if METHODS[method] else None
    limits: Ranges = dict.fromkeys(names, (math.inf, -math.inf))
    ends: dict[str, tuple[_Largest, _Largest]] = {}
    for inside in values_inside(model, names, crops, "calibration"):
        for name in names:
            values = inside[name].ravel()
            low, high = float(values.min()), float(values.max())
            if not math.isfinite(low + high):
                raise UserError(f"the network gives values that are not finite at {name}: its weights are broken")
            limits[name] = (min(limits[name][0], low), max(limits[name][1], high))
            if left_out is None:
                continue
            # An odd step, so that it does not stay in one row or channel.
            sampled = values[:: max(1, values.size // SAMPLES) | 1]
            if name not in ends:
                count = int(left_out * sampled.size * len(crops)) + 1
                ends[name] = (_Largest(count), _Largest(count))
            ends[name][0].add(-sampled)
            ends[name][1].add(sampled)
    return limits | {name: (-float(low.values.min()), float(high.values.min())) for name, (low, high) in ends.items()}
