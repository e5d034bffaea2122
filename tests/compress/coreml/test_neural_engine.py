"""What leaves the Neural Engine, and a Mac's plan: from a stand-in that has the attributes of coremltools' classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.coreml.__main__ import main
from compress.coreml.neural_engine import UNITS, leaving, shares
from compress.coreml.package import Operation, Program, TensorType
from runtime.errors import UserError


def test_what_leaves() -> None:
    half, deep = TensorType("fp16", (1, 4)), TensorType("fp16", (1, 1, 1, 1, 1))
    operations = [("conv", half), ("gather", half), ("gather", half), ("reshape", deep), ("softmax", half)]
    operations.append(("softmax", TensorType("fp32", (2,))))
    program = Program("", {}, frozenset(), {}, tuple(Operation(kind, (made,)) for kind, made in operations), {})
    assert {rule.rule: rule.kinds for rule in leaving(program)} == {
        "gathering by index": {"gather": 2},
        "rank above 4": {"reshape": 1},
        "fp32 arithmetic": {"softmax": 1},
    }


class FakePlan:
    """Operations as (kind, unit or None, cost or None)."""

    def __init__(self, operations: list[tuple[str, str | None, float | None]]) -> None:
        rows = [SimpleNamespace(operator_name=kind, unit=unit, cost=cost) for kind, unit, cost in operations]
        program = SimpleNamespace(functions={"main": SimpleNamespace(block=SimpleNamespace(operations=rows))})
        self.model_structure = SimpleNamespace(program=program)

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        if operation.unit is None:
            return None
        return SimpleNamespace(preferred_compute_device=type(operation.unit, (), {})())

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        return None if operation.cost is None else SimpleNamespace(weight=operation.cost)


def test_the_stand_in_has_what_coremltools_has() -> None:
    from coremltools.models import compute_device, compute_plan

    assert all(hasattr(compute_device, name) for name in UNITS)
    calls = {name for name in vars(FakePlan) if name.startswith("get_")}
    assert calls | {"model_structure", "load_from_path"} <= set(dir(compute_plan.MLComputePlan))


def test_shares() -> None:
    plan = FakePlan(
        [
            ("const", None, None),
            ("conv", "MLNeuralEngineComputeDevice", 0.5),
            ("conv", "MLNeuralEngineComputeDevice", 0.2),
            ("resample", "MLCPUComputeDevice", 0.3),
            ("softmax", "MLCPUComputeDevice", None),
            ("cast", "MLTensorCoreComputeDevice", 0.0),
        ]
    )
    assert shares(plan) == [
        "Neural Engine: 2 operations, 70% of the estimated cost (2 conv)",
        "CPU: 2 operations, 30% of the estimated cost (1 resample, 1 softmax)",
        "undecided: 1 operations, 0% of the estimated cost (1 cast)",
    ]


def test_without_core_ml_there_is_no_plan(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is made on a Mac"):
        main([str(small_package), "--compute-plan"])
    monkeypatch.setattr("compress.coreml.neural_engine.sys", SimpleNamespace(platform="darwin"))
    with pytest.raises(UserError, match="Core ML makes no plan"):
        main([str(small_package), "--compute-plan"])
