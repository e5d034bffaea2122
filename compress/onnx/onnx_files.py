"""The ONNX files of an export: fp32 from the network, the others from the fp32 file, each held against its rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from compress.formats import BASELINE, OnnxFile
from compress.request import FEW_CALIBRATION_CROPS, MIN_CALIBRATION_CROPS, ExportRequest
from compress.source import int8_saturates
from runtime.errors import UserError
from targets import Target

if TYPE_CHECKING:
    from compress.crops import Crops
    from compress.onnx.quantize import QuantizedNodes
    from runtime.hand.hand_model import HandModel
    from training.data.frames import Frames
    from training.network import ERNet
    from training.quantisation.int8_rules import QuantizeSpec

FP16_CROPS = 32  # that an fp16 file is checked on for overflow


@dataclass(frozen=True)
class Written:
    """What was done to the weights of one file."""

    quantisation: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None  # data, n_images, sha256, method


@dataclass(frozen=True)
class Material:
    """What files are made from."""

    network: ERNet
    trained: ERNet | None  # the network that rounds, where weights were trained to be int8
    train: Frames
    hands: tuple[HandModel, HandModel]
    target: Target | None


def write_files(
    request: ExportRequest, files: Mapping[str, Path], plan: tuple[OnnxFile, ...], made_of: Material
) -> dict[str, Written]:
    """Write every file of `plan` to its path; both by label. ValueError for a file that breaks its flavour's rules."""
    from compress.onnx.to_onnx import write_onnx

    write_onnx(made_of.network, files[BASELINE])
    return {file.label: _write(request, files[BASELINE], files[file.label], file, made_of) for file in plan}


def _write(request: ExportRequest, source: Path, path: Path, file: OnnxFile, made_of: Material) -> Written:
    if file.precision == "fp16":
        return _write_half(source, path, made_of)
    if file.flavour is None:
        return Written()
    written = _write_int8(request, source, path, file, made_of)
    check_rules(path, file.flavour)
    return written


def _write_half(source: Path, path: Path, made_of: Material) -> Written:
    from compress.crops import load_crops
    from compress.onnx.half import convert_to_fp16

    train, crop_px = made_of.train, made_of.network.variant.crop_px
    crops = load_crops(train, min(FP16_CROPS, len(train)), crop_px, "crops")
    kept = convert_to_fp16(source, path, crops)
    return Written({"kept_fp32": [asdict(node) for node in kept], "checked_on_crops": len(crops)})


def _write_int8(request: ExportRequest, source: Path, path: Path, file: OnnxFile, made_of: Material) -> Written:
    from compress.crops import digest
    from compress.onnx.flavours import quantize
    from compress.onnx.int8_weights import store_weights
    from training.quantisation.int8_rules import KEEP_FLOAT, QuantizeSpec

    assert file.flavour is not None
    if made_of.trained is not None:
        return Written(write_trained(made_of.trained, path))
    if not file.calibrated:
        return Written({"flavour": file.flavour, "stored": list(store_weights(source, path))})
    name, crops = calibration_crops(request, made_of.train, made_of.hands, made_of.network.variant.crop_px)
    spec: QuantizeSpec = QuantizeSpec(KEEP_FLOAT + request.keep_float, int8_saturates(made_of.target))
    nodes = planned_nodes(request, source, file.flavour)
    nodes = quantize(source, path, crops, spec, file.flavour, request.calibration, nodes)
    return Written(
        {"flavour": file.flavour, **asdict(spec), **asdict(nodes)},
        {"data": name, "n_images": len(crops), "sha256": digest(crops), **asdict(request.calibration)},
    )


def planned_nodes(request: ExportRequest, source: Path, flavour: str) -> QuantizedNodes | None:
    """What the plan says of the float file's nodes, None without a plan."""
    if request.plan is None:
        return None
    from compress.onnx.quantize import load_float
    from compress.precision_plan import nodes_of, read_plan

    plan = read_plan(request.plan, request.variant)
    if plan.flavour != flavour:
        raise UserError(f"{request.plan} was made for flavour {plan.flavour}, the target takes {flavour}")
    return nodes_of(plan, load_float(source))


def calibration_crops(
    request: ExportRequest, train: Frames, hands: tuple[HandModel, HandModel], crop_px: int
) -> tuple[str, Crops]:
    """What ranges are measured on, with its name; a warning for few, a UserError for too few."""
    from compress.crops import load_crops, load_own_crops
    from training.data.dataset import SYNTHETIC, open_frames

    given, count = request.calib_data, request.calibration_crops
    if given is not None and given != SYNTHETIC and not (Path(given) / "annotations").is_dir():
        crops, name = load_own_crops(Path(given), count, crop_px), Path(given).name
    else:
        if given is not None:
            train = open_frames(given, "train", hands, count)
        crops, name = load_crops(train, min(count, len(train)), crop_px, "calibration crops"), train.label
    if len(crops) < MIN_CALIBRATION_CROPS:
        raise UserError(f"{given or name} has {len(crops)} calibration images: at least {MIN_CALIBRATION_CROPS}")
    if len(crops) < FEW_CALIBRATION_CROPS:
        tqdm.write(f"warning: only {len(crops)} calibration images, {FEW_CALIBRATION_CROPS} or more are safer")
    return name, crops


def check_rules(path: Path, flavour: str) -> None:
    """The linter on a file just written: a fault of this program, not of the user."""
    import onnx

    from compress.onnx.lint import lint

    if violations := lint(onnx.load(path), flavour):
        raise ValueError(f"the {flavour} file breaks its rules: {violations[0]} (and {len(violations) - 1} more)")


def write_trained(trained: ERNet, path: Path) -> dict[str, Any]:
    """Write the int8 file of a network trained to be int8; what its passport says of it."""
    from compress.onnx.int8_cpu import write_trained as write_trained_int8
    from compress.onnx.to_onnx import write_onnx
    from training.quantisation.qat import float_network, int8_spec_of, ranges_of

    spec = int8_spec_of(trained)
    assert spec is not None
    source = path.with_suffix(".rounded.onnx")
    write_onnx(float_network(trained, rounded=True), source)
    nodes = write_trained_int8(source, path, ranges_of(trained), spec)
    source.unlink()
    return {"flavour": "cpu", **asdict(spec), **asdict(nodes)}
