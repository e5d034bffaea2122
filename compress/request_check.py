"""What of a request can be wrong before anything is loaded."""

from __future__ import annotations

from compress.device_profile import here, load_profile
from compress.formats import FORMATS, get_format, plan_artefacts
from compress.material import MIN_CALIBRATION_CROPS, pruning_request
from compress.precision_plan import read_plan
from compress.prune import check as check_pruning
from compress.request import ExportRequest
from runtime.errors import UserError
from targets import THIS_MACHINE, Target, refusal
from targets.profile import PRECISIONS as TARGET_PRECISIONS
from training.network import get_variant

PRECISIONS = tuple(dict.fromkeys(precision for format in FORMATS.values() for precision in format.precisions))


def check_request(request: ExportRequest) -> Target | None:
    """Raise a UserError for what cannot be, and give back the target's profile, if one is named."""
    get_variant(request.variant)
    if request.precision not in PRECISIONS:
        raise UserError(f"unknown precision '{request.precision}' (there are {', '.join(PRECISIONS)})")
    for name in request.formats:
        if request.precision not in get_format(name).precisions:
            fitting = ", ".join(f"--{precision}" for precision in get_format(name).precisions)
            raise UserError(f"format {name} has no precision {request.precision}: it takes {fitting}")
    if request.image_input and "coreml" not in request.formats:
        raise UserError("--image-input has no effect without --format coreml")
    target = _load_target(request)
    for flag in request.int8_only:
        if request.precision != "int8":
            raise UserError(f"{flag} has no effect without --int8")
        if not any(artefact.calibrated for artefact in plan_artefacts(request, target)):
            raise UserError(f"{flag} has no effect: here weights alone become integers")
    if request.plan is not None and request.keep_float:
        raise UserError("--plan says what stays float: leave out --keep-float")
    if request.plan is not None:
        read_plan(request.plan, request.variant)
    request.calibration  # noqa: B018 (an unknown method raises)
    _check_pruning(request)
    if request.calibration_crops < MIN_CALIBRATION_CROPS:
        raise UserError(f"--calib-samples {request.calib_samples} is too few: at least {MIN_CALIBRATION_CROPS}")
    if request.test_images < 1:
        raise UserError("--test-images must be at least 1")
    if not request.max_drop_mm >= 0:
        raise UserError(f"--max-drop-mm {request.max_drop_mm} must be 0 or more")
    if request.random_weights and request.checkpoint is not None:
        raise UserError("--random-weights and --checkpoint exclude each other")
    return target


def _load_target(request: ExportRequest) -> Target | None:
    """The profile; a UserError where it does not take what is asked for."""
    if request.target is None:
        return None
    target = load_profile(request.target)
    # Weights as integers are computed in float: whether a device reads them is a question of its format.
    precision = request.precision if request.precision in TARGET_PRECISIONS else None
    for name in request.formats:
        feature = request.precision if name == "coreml" and precision is None else None
        if why := refusal(target, format=name, precision=precision, feature=feature):
            raise UserError(why)
    return target


def _check_pruning(request: ExportRequest) -> None:
    if request.prune is not None and request.prune_to_ms is not None:
        raise UserError("--prune and --prune-to-ms exclude each other")
    if request.prune_to_ms is not None and request.target not in (None, THIS_MACHINE, here()):
        raise UserError(
            f"--prune-to-ms is measured on this machine ({here()}): run it on {request.target}, or give --prune RATIO"
        )
    if not request.prunes:
        for flag, given in (("--importance", request.importance), ("--finetune-steps", request.finetune_steps)):
            if given is not None:
                raise UserError(f"{flag} has no effect without --prune")
        return
    if request.random_weights:
        raise UserError("--prune needs trained weights: channels that were never trained are all alike")
    check_pruning(pruning_request(request))
