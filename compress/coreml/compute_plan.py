"""Which unit of this Mac runs which operation: `python -m compress.coreml.compute_plan exports/er-s_224_w8.mlpackage`.

Core ML's own plan (MLComputePlan, macOS 14.4); its costs are estimates. An iPhone's is Xcode's performance report.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.coreml.library import coremltools
from compress.coreml.package import read_package
from runtime.errors import CommandParser, UserError, first_line, run_command

UNITS = {
    "MLNeuralEngineComputeDevice": "Neural Engine",
    "MLGPUComputeDevice": "GPU",
    "MLCPUComputeDevice": "CPU",
}
_UNDECIDED = "undecided"
_MAX_KINDS = 6


@dataclass(frozen=True)
class Share:
    """What a unit is to run."""

    unit: str
    cost: float  # of the whole, 0..1, as Core ML estimates it
    kinds: dict[str, int]  # operations

    @property
    def count(self) -> int:
        """Operations."""
        return sum(self.kinds.values())


def shares(plan: Any) -> list[Share]:
    """Of an MLComputePlan, the largest cost first; constants, which no unit runs, are left out."""
    cost: dict[str, float] = {}
    kinds: dict[str, Counter[str]] = {}
    for operation in plan.model_structure.program.functions["main"].block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is None:
            continue
        device = type(usage.preferred_compute_device).__name__
        unit = UNITS.get(device, _UNDECIDED)
        estimate = plan.get_estimated_cost_for_mlprogram_operation(operation)
        cost[unit] = cost.get(unit, 0.0) + (estimate.weight if estimate is not None else 0.0)
        kinds.setdefault(unit, Counter())[operation.operator_name] += 1
    return [Share(unit, cost[unit], dict(kinds[unit])) for unit in sorted(kinds, key=lambda unit: -cost[unit])]


def load_plan(path: Path) -> Any:
    """Compile a package and ask Core ML for its plan. UserError for anything but a package on a Mac."""
    read_package(path)
    if sys.platform != "darwin":
        raise UserError("a compute plan is made on a Mac: what is known without one, python -m compress.coreml says")
    ct = coremltools()
    from coremltools.models.compute_plan import MLComputePlan

    try:
        model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.ALL)
        return MLComputePlan.load_from_path(model.get_compiled_model_path(), compute_units=ct.ComputeUnit.ALL)
    except Exception as error:  # Core ML's own have no common class
        raise UserError(f"Core ML makes no plan for {path}: {first_line(error)}") from None


def describe(found: list[Share]) -> list[str]:
    """Lines for the screen."""
    lines = []
    for share in found:
        most = sorted(share.kinds.items(), key=lambda item: (-item[1], item[0]))[:_MAX_KINDS]
        shown = ", ".join(f"{count} {kind}" for kind, count in most)
        more = ", ..." if len(share.kinds) > _MAX_KINDS else ""
        lines.append(f"{share.unit}: {share.count} operations, {share.cost:.0%} of the estimated cost ({shown}{more})")
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Print the plan of each package."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("packages", type=Path, nargs="+", metavar="FILE.mlpackage")
    for path in parser.parse_args(arguments).packages:
        print("\n".join([str(path), *describe(shares(load_plan(path)))]))
    return 0


if __name__ == "__main__":
    run_command(main)
