"""What may leave Apple's Neural Engine, by rules that others have found. Only a device says it (docs/iphone.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compress.coreml.package import computing, dtype_of

MAX_RANK = 4  # of this project's graphs
RULE_OF_KIND = {
    **dict.fromkeys(("resample", "crop_resize", "affine"), "sampling at coordinates"),  # coremltools' issues 1875, 2299
    **dict.fromkeys(("gather", "gather_along_axis", "gather_nd"), "gathering by index"),  # its issue 1103
    **dict.fromkeys(("topk", "argsort"), "sorting"),  # github.com/roboflow/rf-detr/pull/1495
}
RANK_RULE = f"rank above {MAX_RANK}"  # machinelearning.apple.com/research/neural-engine-transformers
FP32_RULE = "fp32 arithmetic"  # coremltools' guide, typed execution


@dataclass(frozen=True)
class Leaving:
    """The operations of a program that a rule applies to."""

    rule: str
    kinds: dict[str, int]


def leaving(function: Any) -> tuple[Leaving, ...]:
    """Count what of a MIL function each rule applies to; rules that apply to nothing are left out."""
    found: dict[str, Counter[str]] = {}
    for operation in computing(function):
        for rule in _rules(operation):
            found.setdefault(rule, Counter())[operation.op_type] += 1
    return tuple(Leaving(rule, dict(kinds)) for rule, kinds in found.items())


def _rules(operation: Any) -> list[str]:
    rules = [RULE_OF_KIND[operation.op_type]] if operation.op_type in RULE_OF_KIND else []
    if any(value.rank > MAX_RANK for value in operation.outputs):
        rules.append(RANK_RULE)
    if any(dtype_of(value) == "fp32" for value in operation.outputs):
        rules.append(FP32_RULE)
    return rules


def counted(kinds: Mapping[str, int]) -> str:
    """Write operations by kind in words, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)
