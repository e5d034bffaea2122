"""What leaves the Neural Engine."""

from __future__ import annotations

from compress.coreml.neural_engine import leaving
from compress.coreml.package import Operation, Program, TensorType


def test_what_leaves() -> None:
    half, deep = TensorType("fp16", (1, 4)), TensorType("fp16", (1, 1, 1, 1, 1))
    operations = [("conv", half), ("gather", half), ("gather", half), ("reshape", deep), ("softmax", half)]
    operations.append(("softmax", TensorType("fp32", (2,))))
    program = Program({}, {}, tuple(Operation(kind, (made,)) for kind, made in operations), {})
    assert {rule.rule: rule.kinds for rule in leaving(program)} == {
        "gathering by index": {"gather": 2},
        "rank above 4": {"reshape": 1},
        "fp32 arithmetic": {"softmax": 1},
    }
