"""Where operations run: what is known to leave Apple's Neural Engine, and on a Mac what Core ML itself plans.

Only a device says where an operation runs (docs/iphone.md). The rules are what others have found. The plan
(MLComputePlan, macOS 14.4) is the Mac's own, its costs are estimates; an iPhone's is Xcode's performance report.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.coreml import coremltools
from compress.coreml.package import Operation, Program
from runtime.errors import UserError, first_line

MAX_RANK = 4  # of this project's graphs
UNITS = {
    "MLNeuralEngineComputeDevice": "Neural Engine",
    "MLGPUComputeDevice": "GPU",
    "MLCPUComputeDevice": "CPU",
}
_RULES_OF_KINDS = {
    "sampling at coordinates": ("resample", "crop_resize", "affine"),  # coremltools' issues 1875 and 2299
    "gathering by index": ("gather", "gather_along_axis", "gather_nd"),  # its issue 1103
    "sorting": ("topk", "argsort", "non_maximum_suppression"),  # github.com/roboflow/rf-detr/pull/1495
    # ane-guide.readthedocs.io, capability surface
    "scattering": ("scatter", "scatter_along_axis", "scatter_nd", "reduce_prod"),
    "recurrent cells": ("gru", "lstm", "rnn"),
}
RULE_OF_KIND = {kind: rule for rule, kinds in _RULES_OF_KINDS.items() for kind in kinds}
RANK_RULE = f"rank above {MAX_RANK}"  # machinelearning.apple.com/research/neural-engine-transformers
FP32_RULE = "fp32 arithmetic"  # coremltools' guide, typed execution


@dataclass(frozen=True)
class Leaving:
    """The operations of a program that a rule applies to."""

    rule: str
    kinds: dict[str, int]


def leaving(program: Program) -> tuple[Leaving, ...]:
    """Count what each rule applies to; rules that apply to nothing are left out."""
    found: dict[str, Counter[str]] = {}
    for operation in program.operations:
        for rule in _rules(operation):
            found.setdefault(rule, Counter())[operation.kind] += 1
    return tuple(Leaving(rule, dict(kinds)) for rule, kinds in found.items())


def _rules(operation: Operation) -> list[str]:
    rules = [RULE_OF_KIND[operation.kind]] if operation.kind in RULE_OF_KIND else []
    if any(len(kind.shape) > MAX_RANK for kind in operation.outputs):
        rules.append(RANK_RULE)
    if any(kind.dtype == "fp32" for kind in operation.outputs):
        rules.append(FP32_RULE)
    return rules


def planned_units(path: Path) -> list[str]:
    """Compile a package and return a line for each unit of this Mac; a UserError on other machines."""
    if sys.platform != "darwin":
        raise UserError("a compute plan is made on a Mac: leave out --compute-plan for what is known without one")
    ct = coremltools()
    # Imported last: coremltools is optional.
    from coremltools.models.compute_plan import MLComputePlan

    try:
        model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.ALL)
        plan = MLComputePlan.load_from_path(model.get_compiled_model_path(), compute_units=ct.ComputeUnit.ALL)
    except Exception as error:  # Core ML's own have no common class
        raise UserError(f"Core ML makes no plan for {path}: {first_line(error)}") from None
    return shares(plan)


def shares(plan: Any) -> list[str]:
    """Sum up an MLComputePlan by unit, a line each; constants, which no unit runs, are left out."""
    cost, kinds = Counter[str](), dict[str, Counter[str]]()
    for operation in plan.model_structure.program.functions["main"].block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is None:
            continue
        unit = UNITS.get(type(usage.preferred_compute_device).__name__, "undecided")
        estimate = plan.get_estimated_cost_for_mlprogram_operation(operation)
        cost[unit] += 0 if estimate is None else estimate.weight
        kinds.setdefault(unit, Counter())[operation.operator_name] += 1
    return [
        f"{unit}: {sum(found.values())} operations, {cost[unit]:.0%} of the estimated cost ({counted(found)})"
        for unit, found in kinds.items()
    ]


def counted(kinds: Mapping[str, int]) -> str:
    """Write operations by kind in words, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)
