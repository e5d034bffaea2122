"""Operations that are known to leave Apple's Neural Engine, as a table, and how many of them a program has.

Only a device says where an operation runs (MLComputePlan, docs/iphone.md). What stands here is what others have found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compress.coreml.program import Operation, Program

MAX_RANK = 4  # of this project's graphs


@dataclass(frozen=True)
class Rule:
    """One reason to leave the Neural Engine."""

    name: str
    source: str
    applies: Callable[[Operation], bool]


@dataclass(frozen=True)
class Leaving:
    """What of a program a rule applies to."""

    rule: str
    source: str
    kinds: dict[str, int]

    @property
    def count(self) -> int:
        """Operations."""
        return sum(self.kinds.values())


def _one_of(*kinds: str) -> Callable[[Operation], bool]:
    return lambda operation: operation.kind in kinds


def _above_rank(operation: Operation) -> bool:
    return any(len(kind.shape) > MAX_RANK for kind in operation.outputs.values())


def _in_fp32(operation: Operation) -> bool:
    return any(kind.dtype == "fp32" for kind in operation.outputs.values())


_ISSUES = "github.com/apple/coremltools/issues"
_GUIDE = "ane-guide.readthedocs.io, capability surface"
RULES = (
    Rule("sampling at coordinates", f"{_ISSUES}/1875 and 2299", _one_of("resample", "crop_resize", "affine")),
    Rule("gathering by index", f"{_ISSUES}/1103", _one_of("gather", "gather_along_axis", "gather_nd")),
    Rule("sorting", "github.com/roboflow/rf-detr/pull/1495", _one_of("topk", "argsort", "non_maximum_suppression")),
    Rule("scattering", _GUIDE, _one_of("scatter", "scatter_along_axis", "scatter_nd", "reduce_prod")),
    Rule("recurrent cells", _GUIDE, _one_of("gru", "lstm", "rnn")),
    Rule("rank above 4", "machinelearning.apple.com/research/neural-engine-transformers", _above_rank),
    Rule(
        "fp32 arithmetic",
        "apple.github.io/coremltools/docs-guides/source/typed-execution-example.html",
        _in_fp32,
    ),
)


def leaving(program: Program) -> tuple[Leaving, ...]:
    """What of the program each rule applies to; rules that apply to nothing are left out."""
    found = []
    for rule in RULES:
        kinds: dict[str, int] = {}
        for operation in program.operations:
            if rule.applies(operation):
                kinds[operation.kind] = kinds.get(operation.kind, 0) + 1
        if kinds:
            found.append(Leaving(rule.name, rule.source, kinds))
    return tuple(found)
