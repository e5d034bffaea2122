"""What is made besides ONNX: Core ML packages, proven by evaluating them, and TensorRT engines, built on the device.

Each gives an entry of the report: how it ended, why, and what was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.check.verdict import EXPORT_FAILED, NOT_RUN, PARITY_FAILED, PASSED, judge_loss
from compress.formats import OnnxFile, artefact_name
from compress.request import ExportRequest
from runtime.errors import UserError
from targets import Target

if TYPE_CHECKING:
    from compress.passport import Passport
    from runtime.hand.hand_model import HandModel
    from training.data.frames import Frames
    from training.network import ERNet

PACKAGE_CROPS = 64
Entry = dict[str, Any]


def write_package(
    request: ExportRequest,
    network: ERNet,
    stage: Path,
    pruned: float,
    target: Target | None,
    test: Frames,
    hands: tuple[HandModel, HandModel],
    passport: Passport,
    fp32_mm: float,
) -> Entry:
    """Convert, compare with torch, measure the accuracy; a package that failed is not left in `stage`."""
    import shutil

    from compress.coreml.convert import PRECISIONS, PackageOptions
    from compress.coreml.convert import write_package as convert
    from compress.coreml.package import embed, package_sha256
    from compress.coreml.package_check import check_package, package_predictor
    from compress.crops import load_crops
    from training.evaluate import dataset_label, evaluate

    label = PRECISIONS[request.precision] or "fp32"
    options = PackageOptions(image_input=request.image_input)
    if target is not None and target.deployment_target is not None:
        options = replace(options, deployment_target=target.deployment_target)
    crop_px = network.variant.crop_px
    path = stage / f"{artefact_name(request.variant, crop_px, label, pruned)}.mlpackage"
    facts = convert(network, path, request.precision, options)
    entry: Entry = {"file": path.name, "bytes": facts.bytes, "sha256": package_sha256(path), "package": asdict(facts)}
    crops = load_crops(test, min(PACKAGE_CROPS, len(test)), crop_px, "crops")
    parity = check_package(network, path, request.precision, crops, hands)
    entry["parity"] = asdict(parity)
    if not parity.passed:
        shutil.rmtree(path)
        return entry | {"status": PARITY_FAILED, "reasons": list(parity.reasons)}
    predict, _ = package_predictor(path, hands)
    accuracy = evaluate(predict, test, crop_px, hands, f"accuracy {label}").accuracy(dataset_label(test))
    lost_mm = accuracy.mpjpe_mm - fp32_mm
    entry["accuracy"] = asdict(accuracy) | {"delta_vs_fp32_mm": lost_mm}
    verdict = judge_loss(label, lost_mm, request.max_drop_mm)
    entry |= {"status": verdict.status, "reasons": list(verdict.reasons)}
    if verdict.status != PASSED:
        shutil.rmtree(path)
        return entry
    own = replace(
        passport,
        precision=label,
        quantisation={"weights": facts.weights, "keep_fp32": list(facts.keep_fp32)},
        calibration=None,
        parity=entry["parity"],
        accuracy=entry["accuracy"],
        latency_ms={"median": None, "reason": "Core ML runs on Apple's devices alone"},
        verdict=asdict(verdict),
    ).to_dict()
    embed(path, own)
    entry["sha256"] = package_sha256(path)
    own |= {key: entry[key] for key in ("file", "bytes", "sha256", "package")}
    Path(f"{path}.json").write_text(json.dumps(own, indent=2) + "\n")
    return entry


def write_engine(
    request: ExportRequest,
    files: Mapping[str, Path],
    plan: tuple[OnnxFile, ...],
    hand_model: Path | None,
    test: Frames,
    hands: tuple[HandModel, HandModel],
    fp32_mm: float,
) -> Entry:
    """Build the engine here where there is a GPU with TensorRT; what can be checked without is checked everywhere."""
    from compress.tensorrt.engine_file import EngineRequest, build, prepare
    from compress.tensorrt.rtx import check_build
    from training.evaluate import dataset_label, evaluate, file_predictor

    file = next((f for f in plan if f.precision == request.precision and f.flavour in (None, "trt")), plan[0])
    path = files[file.label]
    device = request.target or "NAME"
    command = f"python -m compress.tensorrt {request.output_dir / path.name} --target {device}"
    entry: Entry = {
        "onnx": path.name,
        "build_command": command,
        "build_check": asdict(check_build(path, file.precision)),
    }
    if entry["build_check"]["status"] == "failed":
        return entry | {"status": EXPORT_FAILED, "reasons": list(entry["build_check"]["reasons"])}
    try:
        job = prepare(EngineRequest(path, request.target, output_dir=path.parent, overwrite=True))
    except UserError as error:
        return entry | {"status": NOT_RUN, "reasons": [str(error)]}
    try:
        passport = build(job)
    except UserError as error:
        return entry | {"status": EXPORT_FAILED, "reasons": [str(error)]}
    predict, crop_px = file_predictor(job.path, hand_model)
    accuracy = evaluate(predict, test, crop_px, hands, "accuracy engine").accuracy(dataset_label(test))
    verdict = judge_loss("the engine", accuracy.mpjpe_mm - fp32_mm, request.max_drop_mm)
    if verdict.status != PASSED:
        job.path.unlink()
        job.path.with_suffix(".json").unlink()
    return entry | {
        "file": job.path.name,
        "engine": asdict(passport),
        "accuracy": asdict(accuracy) | {"delta_vs_fp32_mm": accuracy.mpjpe_mm - fp32_mm},
        "status": verdict.status,
        "reasons": list(verdict.reasons),
    }


def describe(name: str, entry: Entry) -> list[str]:
    """Lines for the screen."""
    lines = [f"{name}: " + "; ".join([entry["status"], *entry["reasons"]])]
    if name == "coreml" and entry.get("accuracy"):
        parity, accuracy = entry["parity"], entry["accuracy"]
        lines.append(
            f"  {entry['file']}, {entry['bytes'] / 1e6:.2f} MB, numeric check on {parity['n_images']} crops: "
            f"{parity['fp32']['vertex_mm']:.4f} mm in fp32, {parity['fp16']['present_hand_mm']:.3f} mm in fp16; "
            f"{accuracy['mpjpe_mm']:.3f} mm MPJPE ({accuracy['delta_vs_fp32_mm']:+.3f})"
        )
    if name == "tensorrt":
        check = entry["build_check"]
        times = f", parsed in {check['parse_seconds']} s, built in {check['build_seconds']} s"
        built = times if check["build_seconds"] is not None else ""
        lines.append(f"  build check: {'; '.join([check['status'], *check['reasons']])} ({check['what']}{built})")
        if entry["status"] == NOT_RUN:
            lines.append(f"  on the device: {entry['build_command']}")
    return lines
