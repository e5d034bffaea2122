"""Runs an ML program on any machine, to prove its numbers: each operation by its torch function, in fp32 or in fp16.

coremltools reads the program and its weights, checks every operation against its types, and unfolds compressed
constants. In fp32 nothing is rounded: what differs from the torch network is the program's structure, its constants, or
this file. In fp16 every result that the program types fp16 is rounded to fp16 (to nearest, subnormals kept), as its
constants are anyway. Inside one operation sums are taken in fp32 and rounded once. Devices differ there: a Neural
Engine or GPU may round partial sums, flush subnormals, or take gelu from a table; their own numbers come from the
device.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.coreml.operations import KERNELS, LISTS
from compress.coreml.package import computing, dtype_of, is_constant, read_function, read_model
from runtime.errors import UserError, first_line

Arithmetic = Literal["fp32", "fp16"]
FP16_MAX = 65504.0
FP16_OVERFLOW = 65520.0  # from here on the nearest fp16 number is infinity


class NumericFault(Exception):
    """An operation whose result is no number in the arithmetic; the message names it."""


class Evaluator:
    """The program of a package: `evaluator({"image": array}, "fp16") -> {name: array}`.

    A UserError where the program is damaged or has an operation that is not in operations.KERNELS.
    """

    def __init__(self, path: Path) -> None:
        function, described = read_function(path), read_model(path).description.input
        self.path = path
        self._images = {given.name for given in described if given.type.WhichOneof("Type") == "imageType"}
        self._outputs = [value.name for value in function.outputs]
        self._operations = computing(function)
        for op in self._operations:
            if op.op_type not in KERNELS:
                raise UserError(f"{path}: unknown operation '{op.op_type}' ('{op.name}')")
        self.constants = {
            value.name: _constant(value)
            for op in self._operations
            for values in op.inputs.values()
            for value in (values if isinstance(values, list | tuple) else [values])
            if value is not None and value.op is not None and is_constant(value.op.op_type)
        }

    def __call__(
        self, inputs: Mapping[str, NDArray[np.float32]], arithmetic: Arithmetic = "fp32"
    ) -> dict[str, NDArray[np.float32]]:
        """Values of the program's inputs -> its outputs. NumericFault at the first result that is no finite number."""
        values: dict[str, Any] = dict(self.constants)
        with torch.inference_mode():
            for name, array in inputs.items():
                pixels = np.rint(array * 255) if name in self._images else array  # a picture's, where it takes one
                values[name] = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))
            for op in self._operations:
                for output, result in zip(op.outputs, self._run(op, values), strict=True):
                    values[output.name] = _rounded(result, arithmetic == dtype_of(output) == "fp16", op)
        return {name: values[name].numpy() for name in self._outputs}

    def _run(self, op: Any, values: Mapping[str, Any]) -> tuple[Tensor, ...]:
        given = {
            key: [values[item.name] for item in value] if key in LISTS else values[value.name]
            for key, value in op.inputs.items()
            if value is not None
        }
        try:
            results = KERNELS[op.op_type](**given)
        except (ValueError, TypeError, KeyError) as error:  # what operations.py does not have
            raise UserError(f"{self.path}: {_label(op)} cannot be evaluated: {first_line(error)}") from None
        return results if isinstance(results, tuple) else (results,)


def _rounded(result: Tensor, half: bool, op: Any) -> Tensor:
    """The result in its type, unless it is no number there."""
    arithmetic = "fp16" if half else "fp32"
    largest = float(torch.linalg.vector_norm(result, torch.inf))  # nan where there is one
    if np.isnan(largest):
        raise NumericFault(f"{_label(op)} gives nan in {arithmetic}")
    if largest >= (FP16_OVERFLOW if half else torch.inf):
        size = f"{largest:.6g} is more than {FP16_MAX:g}" if half else "it is infinite"
        raise NumericFault(f"{_label(op)} overflows in {arithmetic}: {size}")
    return result.half().float() if half else result


def _constant(value: Any) -> Any:
    """Floats as float32 tensors, but single ones as numbers; everything else as it is."""
    found = value.val if value.val is not None else value.op.materialized_val_inference()  # of a compressed one
    if not np.issubdtype(np.asarray(found).dtype, np.floating):
        return found
    return torch.from_numpy(np.asarray(found, np.float32)) if np.ndim(found) else float(found)


def _label(op: Any) -> str:
    return f"{op.op_type} '{op.name}'"
