"""Whether a request fits a device: one line that says why not, or None."""

from __future__ import annotations

from targets.profile import DEPLOYMENT_TARGETS, FORMATS, PRECISIONS, Target, TargetError

# What a Core ML export can use: the deployment target that brought it, as coremltools 9 documents, and what it is.
FEATURES = {
    "w8": ("iOS16", "int8 weights, float arithmetic: size, not speed"),
    "palette6": ("iOS16", "6-bit palettes of weights"),
}


def refusal(
    target: Target, *, format: str | None = None, precision: str | None = None, feature: str | None = None
) -> str | None:
    """Return why a request does not fit, in one line with what does; None where it fits. What is None is not asked.

    A TargetError for names that no target knows.
    """
    asked_of = ((format, FORMATS, target.formats), (precision, PRECISIONS, target.precisions), (feature, FEATURES, ()))
    for asked, known, has in asked_of:
        if asked is not None and asked not in known:
            raise TargetError(f"unknown '{asked}' (there are {', '.join(known)})")
        if asked is not None and has and asked not in has:
            return f"{target.name} has no {asked}: {target.absent[asked]}; it takes {', '.join(has)}"  # type: ignore[index]
    if feature is None:
        return None
    since, what = FEATURES[feature]
    if target.deployment_target is None:
        return f"{target.name} has no {feature}: that is a feature of Core ML"
    if DEPLOYMENT_TARGETS.index(since) > DEPLOYMENT_TARGETS.index(target.deployment_target):
        return f"{target.name} must run on {target.deployment_target}: {feature} ({what}) needs {since}"
    return None
