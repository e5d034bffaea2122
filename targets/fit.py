"""Whether a request fits a device: one line that says why not, or None."""

from __future__ import annotations

from dataclasses import dataclass

from targets.profile import DEPLOYMENT_TARGETS, FORMATS, PRECISIONS, Target, TargetError


@dataclass(frozen=True)
class Feature:
    """Something an export can use that older systems lack."""

    name: str
    since: str  # deployment target
    what: str


# Minimum deployment targets as coremltools 9 documents them.
FEATURES = {
    feature.name: feature
    for feature in (
        Feature("mlprogram", "iOS15", "ML programs, fp16 arithmetic"),
        Feature("w8", "iOS16", "int8 weights, float arithmetic: size, not speed"),
        Feature("palette6", "iOS16", "6-bit palettes of weights"),
        Feature("w8a8", "iOS17", "int8 activations; fast from A17 Pro and M4 on"),
        Feature("fused-attention", "iOS18", "one operation for scaled dot product attention"),
        Feature("int4-blocks", "iOS18", "int4 weights in blocks"),
    )
}


def refusal(
    target: Target,
    *,
    format: str | None = None,
    precision: str | None = None,
    flavour: str | None = None,
    feature: str | None = None,
    opset: int | None = None,
) -> str | None:
    """Why a request does not fit, in one line with what does; None where it fits. What is None is not asked.

    A TargetError for names that no target knows.
    """
    for asked, known, has in ((format, FORMATS, target.formats), (precision, PRECISIONS, target.precisions)):
        if asked is None or asked in has:
            continue
        if asked not in known:
            raise TargetError(f"unknown '{asked}' (there are {', '.join(known)})")
        return f"{target.name} has no {asked}: {target.absent[asked]}; it takes {', '.join(has)}"
    if flavour is not None and flavour != target.int8_flavour:
        if target.int8_flavour is None:
            return refusal(target, precision="int8")
        return f"{target.name} takes int8 of flavour {target.int8_flavour}, not {flavour}"
    if opset is not None and opset > target.opset_max:
        return f"{target.name} takes opset {target.opset_max} at most, not {opset}"
    return None if feature is None else _missing_feature(target, feature)


def _missing_feature(target: Target, name: str) -> str | None:
    if name not in FEATURES:
        raise TargetError(f"unknown feature '{name}' (there are {', '.join(FEATURES)})")
    if target.deployment_target is None:
        return f"{target.name} has no {name}: that is a feature of Core ML"
    feature = FEATURES[name]
    if DEPLOYMENT_TARGETS.index(feature.since) > DEPLOYMENT_TARGETS.index(target.deployment_target):
        return f"{target.name} must run on {target.deployment_target}: {name} ({feature.what}) needs {feature.since}"
    return None
