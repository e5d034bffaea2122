"""TensorRT engine files of an export: built here where there is a GPU, from the ONNX file of the same precision.

What can be checked without a GPU is checked everywhere.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from compress.artefact import EXPORT_FAILED, NOT_RUN, Artefact, Verdict
from compress.material import Material
from compress.tensorrt.builder import BuildCheck, check_build
from compress.tensorrt.engine_file import build, prepare, renew_passport
from runtime.errors import UserError
from training.evaluation.predictions import Predictor, file_predictor


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Check that it builds, and build it where there is a GPU with TensorRT."""
    request = material.request
    source = next((a for a in made if a.precision == artefact.precision and a.flavour in (None, "trt")), made[0])
    check = check_build(source.path, source.precision)
    details: dict[str, Any] = {
        "onnx": source.path.name,
        "build_command": f"python -m compress.tensorrt {request.output_dir / source.path.name} "
        f"--target {request.target or 'NAME'}",
        "build_check": asdict(check),
    }
    artefact = replace(artefact, details=details)
    if check.status == "failed":
        return replace(artefact, verdict=Verdict(EXPORT_FAILED, check.reasons))
    try:
        job = prepare(source.path, request.target)
    except UserError as error:
        return replace(artefact, verdict=Verdict(NOT_RUN, (str(error),)))
    try:
        engine = build(job)
    except UserError as error:
        return replace(artefact, verdict=Verdict(EXPORT_FAILED, (str(error),)))
    return replace(artefact, path=job.path, details={**details, "file": job.path.name, "engine": asdict(engine)})


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The engine file in the runner."""
    return file_predictor(artefact.path, material.request.hand_model)[0]


def write_passport(artefact: Artefact, facts: dict[str, Any]) -> Artefact:
    """The engine has one since it was built; its ONNX file has its own by now, and is another file by it."""
    renew_passport(artefact.path)
    return artefact


def describe(facts: dict[str, Any]) -> list[str]:
    """Lines for the screen, of its entry in the report."""
    lines = [f"  build check: {BuildCheck(**facts['build_check'])}"]
    if facts["status"] == NOT_RUN:
        lines.append(f"  on the device: {facts['build_command']}")
    return lines
