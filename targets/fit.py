"""Whether a request fits a device: one line that says why not, or None."""

from __future__ import annotations

from dataclasses import dataclass

from targets.profile import DEPLOYMENT_TARGETS, FORMATS, PRECISIONS, Target, TargetError


@dataclass(frozen=True)
class Feature:
    """Something an export can use that older systems lack."""

    since: str  # deployment target
    what: str


# Minimum deployment targets as coremltools 9 documents them.
FEATURES = {
    "mlprogram": Feature("iOS15", "ML programs, fp16 arithmetic"),
    "w8": Feature("iOS16", "int8 weights, float arithmetic: size, not speed"),
    "palette6": Feature("iOS16", "6-bit palettes of weights"),
}


def refusal(
    target: Target, *, format: str | None = None, precision: str | None = None, feature: str | None = None
) -> str | None:
    """Return why a request does not fit, in one line with what does; None where it fits. What is None is not asked.

    A TargetError for names that no target knows.
    """
    asked_of = ((format, FORMATS, target.formats), (precision, PRECISIONS, target.precisions))
    for asked, known, has in asked_of:
        if asked is not None and asked not in known:
            raise TargetError(f"unknown '{asked}' (there are {', '.join(known)})")
        if asked is not None and asked not in has:
            return f"{target.name} has no {asked}: {target.absent[asked]}; it takes {', '.join(has)}"  # type: ignore[index]
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
