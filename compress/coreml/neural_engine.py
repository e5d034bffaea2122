"""Where operations run: what is known to leave Apple's Neural Engine, and on a Mac what Core ML itself plans.

Only a device says where an operation runs (docs/iphone.md). The rules are what others have found. The plan
(MLComputePlan, macOS 14.4) is the Mac's own, its costs are estimates; an iPhone's is Xcode's performance report.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compress.coreml import coremltools
from compress.coreml.package import Operation, Package, Program, printable
from runtime.errors import UserError, first_line

MAX_RANK = 4  # of this project's graphs
UNITS = {
    "MLNeuralEngineComputeDevice": "Neural Engine",
    "MLGPUComputeDevice": "GPU",
    "MLCPUComputeDevice": "CPU",
}
_UNDECIDED = "undecided"


@dataclass(frozen=True)
class Rule:
    """One reason to leave the Neural Engine."""

    name: str
    source: str
    applies: Callable[[Operation], bool]


@dataclass(frozen=True)
class Leaving:
    """The operations of a program that a rule applies to."""

    rule: str
    source: str
    kinds: dict[str, int]


@dataclass(frozen=True)
class Share:
    """What a unit of the Mac is to run."""

    unit: str
    cost: float  # of the whole, 0..1, as Core ML estimates it
    kinds: dict[str, int]  # operations


def _one_of(*kinds: str) -> Callable[[Operation], bool]:
    return lambda operation: operation.kind in kinds


_ISSUES = "github.com/apple/coremltools/issues"
_GUIDE = "ane-guide.readthedocs.io, capability surface"
RULES = (
    Rule("sampling at coordinates", f"{_ISSUES}/1875 and 2299", _one_of("resample", "crop_resize", "affine")),
    Rule("gathering by index", f"{_ISSUES}/1103", _one_of("gather", "gather_along_axis", "gather_nd")),
    Rule("sorting", "github.com/roboflow/rf-detr/pull/1495", _one_of("topk", "argsort", "non_maximum_suppression")),
    Rule("scattering", _GUIDE, _one_of("scatter", "scatter_along_axis", "scatter_nd", "reduce_prod")),
    Rule("recurrent cells", _GUIDE, _one_of("gru", "lstm", "rnn")),
    Rule(
        "rank above 4",
        "machinelearning.apple.com/research/neural-engine-transformers",
        lambda operation: any(len(kind.shape) > MAX_RANK for kind in operation.outputs),
    ),
    Rule(
        "fp32 arithmetic",
        "apple.github.io/coremltools/docs-guides/source/typed-execution-example.html",
        lambda operation: any(kind.dtype == "fp32" for kind in operation.outputs),
    ),
)


def leaving(program: Program) -> tuple[Leaving, ...]:
    """Count what each rule applies to; rules that apply to nothing are left out."""
    found = []
    for rule in RULES:
        kinds = Counter(operation.kind for operation in program.operations if rule.applies(operation))
        if kinds:
            found.append(Leaving(rule.name, rule.source, dict(kinds)))
    return tuple(found)


def compute_plan(package: Package) -> Any:
    """Compile a package and return Core ML's MLComputePlan; a UserError for anything but a package on a Mac."""
    if sys.platform != "darwin":
        raise UserError("a compute plan is made on a Mac: leave out --compute-plan for what is known without one")
    ct = coremltools()
    # Imported last: coremltools is optional.
    from coremltools.models.compute_plan import MLComputePlan

    try:
        model = ct.models.MLModel(str(package.path), compute_units=ct.ComputeUnit.ALL)
        return MLComputePlan.load_from_path(model.get_compiled_model_path(), compute_units=ct.ComputeUnit.ALL)
    except Exception as error:  # Core ML's own have no common class
        raise UserError(f"Core ML makes no plan for {package.path}: {first_line(error)}") from None


def shares(plan: Any) -> list[Share]:
    """Sum up an MLComputePlan by unit, the largest cost first; constants, which no unit runs, are left out."""
    cost, kinds = dict[str, float](), dict[str, Counter[str]]()
    for operation in plan.model_structure.program.functions["main"].block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is None:
            continue
        unit = UNITS.get(type(usage.preferred_compute_device).__name__, _UNDECIDED)
        estimate = plan.get_estimated_cost_for_mlprogram_operation(operation)
        cost[unit] = cost.get(unit, 0.0) + (estimate.weight if estimate is not None else 0.0)
        kinds.setdefault(unit, Counter())[operation.operator_name] += 1
    return [Share(unit, cost[unit], dict(kinds[unit])) for unit in sorted(kinds, key=lambda unit: -cost[unit])]


def counted(kinds: Mapping[str, int]) -> str:
    """Write operations by kind in words, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {printable(kind, 40)}" for kind, count in ordered)
