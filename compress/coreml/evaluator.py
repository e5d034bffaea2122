"""Runs an ML program on any machine, to prove its numbers: each operation by its torch function, in fp32 or in fp16.

In fp32 nothing is rounded: what differs from the torch network is the program's structure, its constants, or this file.
In fp16 every result that the program types fp16 is rounded to fp16 (to nearest, subnormals kept), as its constants are
anyway. Inside one operation sums are taken in fp32 and rounded once. Devices differ there: a Neural Engine or GPU may
round partial sums, flush subnormals, or take gelu from a table; their own numbers come from the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.coreml.operations import KERNELS, LISTS, Values
from compress.coreml.program import Constant, Operation, Program, TensorType, printable
from runtime.errors import UserError, first_line

Arithmetic = Literal["fp32", "fp16"]
FP16_MAX = 65504.0
MAX_VALUE_ELEMENTS = 1 << 26  # of any value between operations: a quarter of a GB
FP16_OVERFLOW = 65520.0  # from here on the nearest fp16 number is infinity


# What kernels raise for parameters that do not fit together.
_NOT_COMPUTABLE = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class NumericFault(Exception):
    """An operation whose result is no number in the arithmetic; the message names it."""


@dataclass(frozen=True)
class Peak:
    """The largest number that was rounded to fp16, and the operation that made it."""

    value: float = 0.0
    operation: str = ""


class Evaluator:
    """A program and an arithmetic: `evaluator({"image": array}) -> {name: array}`.

    A UserError where the program has an operation it does not know, or one that does not fit its declared types:
    shapes are checked on tensors without content, before anything is computed or allocated.
    """

    def __init__(self, program: Program, arithmetic: Arithmetic = "fp32") -> None:
        self.program = program
        self.arithmetic = arithmetic
        self.peak = Peak()  # over all runs
        self._constants = {name: _as_value(value) for name, value in program.constants.items()}
        _check_names(program)
        _check_shapes(program, self._constants)
        self._done_after = _last_uses(program)

    def __call__(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Values of the program's inputs -> its outputs. NumericFault at the first result that is no finite number."""
        wanted = {name: kind.shape for name, kind in self.program.inputs.items()}
        given = {name: value.shape for name, value in inputs.items()}
        if given != wanted:
            raise ValueError(f"the program takes {wanted}, not {given}")
        with torch.inference_mode():
            values = dict(self._constants)
            for name, array in inputs.items():
                values[name] = torch.from_numpy(np.ascontiguousarray(array, np.float32))
            for operation, done in zip(self.program.operations, self._done_after, strict=True):
                results = _run(operation, values, self.program)
                for (name, kind), result in zip(operation.outputs.items(), results, strict=True):
                    values[name] = self._rounded(result, kind.dtype, operation)
                for name in done:
                    del values[name]
        return {name: values[name].numpy() for name in self.program.outputs}

    def _rounded(self, result: Tensor, dtype: str, operation: Operation) -> Tensor:
        """The result in its type, unless it is no number there."""
        half = self.arithmetic == "fp16" and dtype == "fp16"
        largest = float(torch.linalg.vector_norm(result, torch.inf))  # nan where there is one
        if largest != largest:
            raise NumericFault(f"{_label(operation)} gives nan in {self.arithmetic}")
        if largest >= (FP16_OVERFLOW if half else torch.inf):
            size = f"{largest:.6g} is more than {FP16_MAX:g}" if half else "it is infinite"
            raise NumericFault(f"{_label(operation)} overflows in {self.arithmetic}: {size}")
        if not half:
            return result
        if largest > self.peak.value:
            self.peak = Peak(largest, _label(operation))
        return result.half().float()


def _check_names(program: Program) -> None:
    """Every operation is known, and needs nothing that is not made before it."""
    known = {*program.inputs, *program.constants}
    made: set[str] = set()
    for operation in program.operations:
        if operation.kind not in KERNELS:
            kind = printable(operation.kind, 40)
            raise UserError(f"{program.path}: unknown operation '{kind}' ('{operation.name}')")
        for key, names in operation.inputs.items():
            if not known.issuperset(names) or (len(names) != 1 and key not in LISTS):
                key = printable(key, 40)
                raise UserError(f"{program.path}: {_label(operation)}: nothing before it makes its {key}")
        if not known.isdisjoint(operation.outputs):
            raise UserError(f"{program.path}: {_label(operation)} makes what is there already")
        known |= set(operation.outputs)
        made |= set(operation.outputs)
    if missing := [name for name in program.outputs if name not in made]:
        raise UserError(f"{program.path}: nothing makes the output '{printable(missing[0], 60)}'")


def _check_shapes(program: Program, constants: Mapping[str, Any]) -> None:
    """Run on tensors without content; whatever that finds is the program's fault."""
    values = {name: v.to("meta") if isinstance(v, Tensor) else v for name, v in constants.items()}
    for name, kind in program.inputs.items():
        _check_size(kind, f"{program.path}: input '{printable(name, 60)}'")
        values[name] = torch.empty(kind.shape, device="meta")
    for operation in program.operations:
        where = f"{program.path}: {_label(operation)}"
        for output in operation.outputs.values():
            _check_size(output, where)
        results = _run(operation, values, program)
        if any(not isinstance(result, Tensor) or not result.is_floating_point() for result in results):
            raise UserError(f"{where} cannot be evaluated: it computes with something else than float tensors")
        found = [tuple(result.shape) for result in results]
        declared = [kind.shape for kind in operation.outputs.values()]
        if found != declared:
            raise UserError(f"{where} gives {found}, not {declared} as the program says")
        values |= dict(zip(operation.outputs, results, strict=True))


def _check_size(kind: TensorType, where: str) -> None:
    """Floats, some of them, and not more than memory holds."""
    if kind.dtype not in ("fp16", "fp32"):
        raise UserError(f"{where} is {kind.dtype}: only fp16 and fp32 can be evaluated")
    if not 0 < prod(kind.shape) <= MAX_VALUE_ELEMENTS:
        raise UserError(f"{where} has the size {kind.shape}, which no program of this project has")


def _last_uses(program: Program) -> list[tuple[str, ...]]:
    """Per operation the values that nothing needs afterwards."""
    last = {
        name: index for index, op in enumerate(program.operations) for names in op.inputs.values() for name in names
    }
    made = {name for operation in program.operations for name in operation.outputs} - set(program.outputs)
    done: list[list[str]] = [[] for _ in program.operations]
    for name, index in last.items():
        if name in made:
            done[index].append(name)
    return [tuple(names) for names in done]


def _run(operation: Operation, values: Mapping[str, Any], program: Program) -> tuple[Tensor, ...]:
    """Without content, torch checks shapes but not every parameter: a kernel may refuse later."""
    given = {
        key: [values[name] for name in names] if key in LISTS else values[names[0]]
        for key, names in operation.inputs.items()
    }
    try:
        results: Values = KERNELS[operation.kind](**given)
    except _NOT_COMPUTABLE as error:
        reason = printable(first_line(error))
        raise UserError(f"{program.path}: {_label(operation)} cannot be evaluated: {reason}") from None
    return results if isinstance(results, tuple) else (results,)


def _as_value(constant: Constant) -> Any:
    """Floats as float32 tensors, but single ones as numbers; everything else as it is."""
    if isinstance(constant, str) or not np.issubdtype(constant.dtype, np.floating):
        return constant
    return torch.from_numpy(constant.astype(np.float32)) if constant.ndim else float(constant)


def _label(operation: Operation) -> str:
    return f"{printable(operation.kind, 40)} '{operation.name}'"
