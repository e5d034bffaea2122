"""What leaves the Neural Engine; where there is no Core ML, there is no plan."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from compress.coreml.__main__ import main
from compress.coreml.neural_engine import leaving
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


def test_without_core_ml_there_is_no_plan(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is made on a Mac"):
        main([str(small_package), "--compute-plan"])
    monkeypatch.setattr("compress.coreml.neural_engine.sys", SimpleNamespace(platform="darwin"))
    with pytest.raises(UserError, match="Core ML makes no plan"):
        main([str(small_package), "--compute-plan"])
