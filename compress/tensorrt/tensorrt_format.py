"""TensorRT engine files of an export: built here where there is a GPU, from the ONNX file of the same precision.

What can be checked without a GPU is checked everywhere.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from compress.artefact import EXPORT_FAILED, NOT_RUN, Artefact, Verdict
from compress.material import Material
from compress.tensorrt.builder import check_build
from compress.tensorrt.engine_file import build, prepare, renew_passport
from runtime.errors import UserError
from training.evaluation.predictions import Predictor, file_predictor


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Check that it builds, and build it where there is a GPU with TensorRT."""
    request = material.request
    source = next((a for a in made if a.precision == artefact.precision and a.flavour in (None, "trt")), made[0])
    check = check_build(source.path)
    command = f"python -m compress.tensorrt {request.output_dir / source.path.name} --target {request.target or 'NAME'}"
    details = {"onnx": source.path.name, "build_command": command, "build_check": asdict(check)}
    notes = (f"build check: {check}",)
    if check.status == "failed":
        return replace(artefact, details=details, verdict=Verdict(EXPORT_FAILED, check.reasons))
    status = NOT_RUN
    try:
        job = prepare(source.path, request.target)
        status = EXPORT_FAILED
        engine = build(job)
    except UserError as error:
        details["notes"] = (*notes, f"on the device: {command}")
        return replace(artefact, details=details, verdict=Verdict(status, (str(error),)))
    details |= {"notes": notes, "engine": engine}
    return replace(artefact, path=job.path, details=details)


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The engine file in the runner."""
    return file_predictor(artefact.path, material.request.hand_model)[0]


def embed(artefact: Artefact, facts: dict[str, Any]) -> dict[str, Any]:
    """The engine has one since it was built; its ONNX file has its own by now, and is another file by it."""
    return {"sha256": renew_passport(artefact.path)}
