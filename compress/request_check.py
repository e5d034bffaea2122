"""What of a request can be wrong before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec

from compress.formats import FORMATS, plan_artefacts
from compress.material import pruning_request
from compress.onnx.calibration import METHODS
from compress.onnx.precision_plan import read_plan
from compress.prune import check as check_pruning
from compress.request import ExportRequest
from runtime.errors import UserError, unknown_name
from targets import Target, read_target
from targets.profile import PRECISIONS as TARGET_PRECISIONS
from training.network import get_variant


def check_request(request: ExportRequest) -> Target | None:
    """Raise a UserError for what cannot be, and give back the target's profile, if one is named."""
    get_variant(request.variant)
    target = None if request.target is None else read_target(request.target)
    for name in request.formats:
        _check_format(request, name, target)
    if request.image_input and "coreml" not in request.formats:
        raise UserError("--image-input has no effect without --format coreml")
    for flag in request.int8_only:
        if request.precision != "int8":
            raise UserError(f"{flag} has no effect without --int8")
        if not any(artefact.calibrated for artefact in plan_artefacts(request, target)):
            raise UserError(f"{flag} has no effect: here weights alone become integers")
    if request.plan is not None:
        read_plan(request.plan, request.variant)
    if request.calib_method not in METHODS:
        raise unknown_name("calibration method", request.calib_method, METHODS)
    if request.calib_samples < 1 or request.test_images < 1:
        raise UserError("--calib-samples and --test-images must be at least 1")
    if not request.max_drop_mm >= 0:
        raise UserError(f"--max-drop-mm {request.max_drop_mm} must be 0 or more")
    if request.random_weights and (request.checkpoint is not None or request.prune is not None):
        raise UserError("--random-weights is for neither --checkpoint nor --prune, which need trained weights")
    if request.prune is not None:
        check_pruning(pruning_request(request))
    elif request.finetune_steps:
        raise UserError("--finetune-steps has no effect without --prune")
    return target


def _check_format(request: ExportRequest, name: str, target: Target | None) -> None:
    """Whether the format is one, has the precision, and runs on the target."""
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    known = FORMATS[name].precisions
    if request.precision not in known:
        fitting = ", ".join(f"--{precision}" for precision in known)
        raise UserError(f"format {name} has no precision {request.precision}: it takes {fitting}")
    if missing := [package for package in FORMATS[name].needs if find_spec(package) is None]:  # none is imported here
        raise UserError(f"format {name} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    FORMATS[name].check_tools()
    if target is None:
        return
    # Weights as integers are computed in float: whether a device reads them is a question of its format.
    precision = request.precision if request.precision in TARGET_PRECISIONS else None
    if why := target.refusal(format=FORMATS[name].profiled_as or name, precision=precision):
        raise UserError(why)
