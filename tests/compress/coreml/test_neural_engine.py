"""What leaves the Neural Engine, and a Mac's plan: from a stand-in that has the attributes of coremltools' classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.coreml.__main__ import main
from compress.coreml.neural_engine import UNITS, Share, leaving, shares
from compress.coreml.package import Operation, Program, TensorType
from runtime.errors import UserError


def test_what_leaves() -> None:
    half, deep = TensorType("fp16", (1, 4)), TensorType("fp16", (1, 1, 1, 1, 1))
    operations = [("conv", half), ("gather", half), ("gather", half), ("reshape", deep), ("softmax", half)]
    operations.append(("softmax", TensorType("fp32", (2,))))
    program = Program("", {}, frozenset(), {}, tuple(Operation(kind, (made,)) for kind, made in operations), {}, 0)
    found = {rule.rule: rule.kinds for rule in leaving(program)}
    assert found == {
        "gathering by index": {"gather": 2},
        "rank above 4": {"reshape": 1},
        "fp32 arithmetic": {"softmax": 1},
    }
    assert all(rule.source for rule in leaving(program))


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


PLAN = FakePlan(
    [
        ("const", None, None),
        ("conv", "MLNeuralEngineComputeDevice", 0.5),
        ("conv", "MLNeuralEngineComputeDevice", 0.2),
        ("resample", "MLCPUComputeDevice", 0.3),
        ("softmax", "MLCPUComputeDevice", None),
        ("cast", "MLTensorCoreComputeDevice", 0.0),
    ]
)


def test_the_stand_in_has_what_coremltools_has() -> None:
    from coremltools.models import MLModel, compute_device, compute_plan

    assert all(hasattr(compute_device, name) for name in UNITS)
    calls = [name for name in vars(FakePlan) if name.startswith("get_")]
    for owner, names in {
        compute_plan.MLComputePlan: ("model_structure", "load_from_path", *calls),
        compute_plan.MLComputePlanDeviceUsage: ("preferred_compute_device",),
        compute_plan.MLComputePlanCost: ("weight",),
        compute_plan.MLModelStructureProgramOperation: ("operator_name",),
        compute_plan.MLModelStructureProgramBlock: ("operations",),
        compute_plan.MLModelStructureProgramFunction: ("block",),
        compute_plan.MLModelStructureProgram: ("functions",),
        MLModel: ("get_compiled_model_path",),
    }.items():
        known = {*dir(owner), *getattr(owner, "__annotations__", {})}
        assert known.issuperset(names), owner


def test_shares() -> None:
    assert shares(PLAN) == [
        Share("Neural Engine", 0.7, {"conv": 2}),
        Share("CPU", 0.3, {"resample": 1, "softmax": 1}),
        Share("undecided", 0.0, {"cast": 1}),
    ]


def test_the_command(small_package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="is made on a Mac"):
        main([str(small_package), "--compute-plan"])
    monkeypatch.setattr("compress.coreml.neural_engine.sys", SimpleNamespace(platform="darwin"))
    with pytest.raises(UserError, match="Core ML makes no plan"):  # there is no Core ML here
        main([str(small_package), "--compute-plan"])
    monkeypatch.setattr("compress.coreml.__main__.compute_plan", lambda _: PLAN)
    assert main([str(small_package), "--compute-plan"]) == 0
    assert "Neural Engine: 2 operations, 70% of the estimated cost (2 conv)" in capsys.readouterr().out
