"""What an export is asked for, and what of it can be wrong before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.device_profile import here, load_profile
from compress.formats import OnnxFile, get_format, onnx_files
from compress.onnx.calibration import CalibrationSpec
from runtime.errors import UserError
from targets import THIS_MACHINE, Target, refusal
from targets.profile import PRECISIONS as TARGET_PRECISIONS
from training.network import get_variant

MIN_CALIBRATION_CROPS = 32
FEW_CALIBRATION_CROPS = 256
CALIBRATION_CROPS = 512
PRECISIONS = ("fp32", "fp16", "int8", "w8", "palette6")


@dataclass(frozen=True)
class ExportRequest:
    """What to export, from what, to where, and what it must hold."""

    variant: str
    precision: str = "fp32"
    formats: tuple[str, ...] = ("onnx",)
    image_input: bool = False  # of Core ML packages: a picture instead of an array
    checkpoint: Path | None = None  # None: the weights that come with the project
    random_weights: bool = False
    data: str = "synthetic"
    hand_model: Path | None = None  # None: the embedded hand
    calib_samples: int | None = None  # None: CALIBRATION_CROPS
    calib_data: str | None = None  # own pictures, an .npz or another data set; None: the train split of `data`
    calib_method: str | None = None  # None: percentile
    prune: float | None = None  # share of the multiply-accumulates to lose before anything else
    prune_to_ms: float | None = None  # instead: as little as brings the fp32 file to this latency on this machine
    importance: str | None = None  # of channels; None: Taylor
    finetune_steps: int | None = None  # of recovering from pruning; None: none
    test_images: int = 1000
    max_drop_mm: float = 0.3
    keep_float: tuple[str, ...] = ()
    plan: Path | None = None  # a search's choice of what stays float, instead of the usual one
    target: str | None = None
    output_dir: Path = Path("exports")
    overwrite: bool = False

    @property
    def calibration_crops(self) -> int:
        """How many are asked for."""
        return CALIBRATION_CROPS if self.calib_samples is None else self.calib_samples

    @property
    def calibration(self) -> CalibrationSpec:
        """How ranges are taken."""
        return CalibrationSpec() if self.calib_method is None else CalibrationSpec(self.calib_method)

    def onnx_files(self, target: Target | None) -> tuple[OnnxFile, ...]:
        """The ONNX files that the formats take."""
        return onnx_files(self.precision, self.formats, flavour_of(target))

    @property
    def int8_only(self) -> dict[str, bool]:
        """Which flags that only int8 knows are given."""
        return {
            "--keep-float": bool(self.keep_float),
            "--plan": self.plan is not None,
            "--calib-samples": self.calib_samples is not None,
            "--calib-data": self.calib_data is not None,
            "--calib-method": self.calib_method is not None,
        }


def check_request(request: ExportRequest) -> Target | None:
    """Everything about a request that can be wrong without looking at the weights; the target's profile."""
    get_variant(request.variant)
    if request.precision not in PRECISIONS:
        raise UserError(f"unknown precision '{request.precision}' (there are {', '.join(PRECISIONS)})")
    for name in request.formats:
        if request.precision not in get_format(name).precisions:
            fitting = ", ".join(f"--{precision}" for precision in get_format(name).precisions)
            raise UserError(f"format {name} has no precision {request.precision}: it takes {fitting}")
    if request.image_input and "coreml" not in request.formats:
        raise UserError("--image-input has no effect without --format coreml")
    target = load_target(request)
    for flag, given in request.int8_only.items():
        if given and request.precision != "int8":
            raise UserError(f"{flag} has no effect without --int8")
        if given and not any(file.calibrated for file in request.onnx_files(target)):
            raise UserError(f"{flag} has no effect: here weights alone become integers")
    if request.plan is not None and request.keep_float:
        raise UserError("--plan says what stays float: leave out --keep-float")
    request.calibration  # noqa: B018 (an unknown method raises)
    check_pruning(request)
    if request.calibration_crops < MIN_CALIBRATION_CROPS:
        raise UserError(f"--calib-samples {request.calib_samples} is too few: at least {MIN_CALIBRATION_CROPS}")
    if request.test_images < 1:
        raise UserError("--test-images must be at least 1")
    if not request.max_drop_mm >= 0:
        raise UserError(f"--max-drop-mm {request.max_drop_mm} must be 0 or more")
    if request.random_weights and request.checkpoint is not None:
        raise UserError("--random-weights and --checkpoint exclude each other")
    return target


def load_target(request: ExportRequest) -> Target | None:
    """The target's profile, if one is named; a UserError where it does not take what is asked for."""
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


def flavour_of(target: Target | None) -> str:
    """The flavour of int8; without a target that of CPUs."""
    return "cpu" if target is None or target.int8_flavour is None else target.int8_flavour


def check_pruning(request: ExportRequest) -> None:
    """Flags that say how, without --prune, are a mistake; the rest is prune's own check."""
    if request.prune is not None and request.prune_to_ms is not None:
        raise UserError("--prune and --prune-to-ms exclude each other")
    if request.prune_to_ms is not None and request.target not in (None, THIS_MACHINE, here()):
        raise UserError(
            f"--prune-to-ms is measured on this machine ({here()}): run it on {request.target}, or give --prune RATIO"
        )
    if request.prune is None and request.prune_to_ms is None:
        for flag, given in (("--importance", request.importance), ("--finetune-steps", request.finetune_steps)):
            if given is not None:
                raise UserError(f"{flag} has no effect without --prune")
        return
    if request.random_weights:
        raise UserError("--prune needs trained weights: channels that were never trained are all alike")
