"""A Mac's plan: counted from a stand-in that has the attributes of coremltools' own classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.coreml import compute_plan as module
from compress.coreml.compute_plan import UNITS, Share, describe, load_plan, main, shares
from runtime.errors import UserError


class FakePlan:
    """Operations as (kind, unit or None, cost or None)."""

    def __init__(self, operations: list[tuple[str, str | None, float | None]]) -> None:
        self.rows = [SimpleNamespace(operator_name=kind, unit=unit, cost=cost) for kind, unit, cost in operations]
        block = SimpleNamespace(operations=self.rows)
        program = SimpleNamespace(functions={"main": SimpleNamespace(block=block)})
        self.model_structure = SimpleNamespace(program=program)

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        if operation.unit is None:
            return None
        return SimpleNamespace(preferred_compute_device=type(operation.unit, (), {})())

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        return None if operation.cost is None else SimpleNamespace(weight=operation.cost)


def test_the_stand_in_has_what_coremltools_has() -> None:
    from coremltools.models import MLModel, compute_device, compute_plan

    assert all(hasattr(compute_device, name) for name in UNITS)
    for name in vars(FakePlan):
        if name.startswith("get_"):
            assert callable(getattr(compute_plan.MLComputePlan, name))
    for owner, names in {
        compute_plan.MLComputePlan: ("model_structure", "load_from_path"),
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
    found = shares(
        FakePlan(
            [
                ("const", None, None),
                ("conv", "MLNeuralEngineComputeDevice", 0.5),
                ("conv", "MLNeuralEngineComputeDevice", 0.2),
                ("resample", "MLCPUComputeDevice", 0.3),
                ("softmax", "MLCPUComputeDevice", None),
                ("cast", "MLTensorCoreComputeDevice", 0.0),
            ]
        )
    )
    assert found == [
        Share("Neural Engine", 0.7, {"conv": 2}),
        Share("CPU", 0.3, {"resample": 1, "softmax": 1}),
        Share("undecided", 0.0, {"cast": 1}),
    ]
    assert describe(found)[0] == "Neural Engine: 2 operations, 70% of the estimated cost (2 conv)"
    many = Share("GPU", 1.0, dict.fromkeys("abcdefgh", 1))
    assert describe([many])[0].endswith("1 f, ...)")


def test_not_on_a_mac(small_package: Path) -> None:
    with pytest.raises(UserError, match="is made on a Mac"):
        main([str(small_package)])
    with pytest.raises(UserError):
        main(["absent.mlpackage"])


def test_the_command(small_package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "load_plan", lambda _path: FakePlan([("conv", "MLGPUComputeDevice", 1.0)]))
    assert main([str(small_package)]) == 0
    assert "GPU: 1 operations, 100%" in capsys.readouterr().out


def test_core_ml_makes_none(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.coreml.compute_plan.sys", SimpleNamespace(platform="darwin"))
    with pytest.raises(UserError, match="Core ML makes no plan"):
        load_plan(small_package)
