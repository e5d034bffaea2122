"""What is known of a candidate before it runs: size, hash, and what its passport says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.candidates.candidate import ARTIFACT, Candidate
from benchmarks.records.record import Artifact, ParityFacts
from runtime.backends.contract import METADATA_KEY, parse_passport
from runtime.backends.engine_passport import read_engine_passport
from runtime.backends.litert_engine import passport_in as passport_in_litert
from runtime.backends.opening import check_model_file
from runtime.backends.openvino_engine import passport_in, read_model
from runtime.errors import UserError, first_line
from runtime.files import file_sha256

if TYPE_CHECKING:
    from onnx import ModelProto

FORMATS = {".onnx": "onnx", ".engine": "tensorrt", ".xml": "openvino", ".tflite": "litert"}


@dataclass(frozen=True)
class Facts:
    """What a record says of one candidate."""

    artifact: Artifact
    parity: ParityFacts | None = None
    build_s: float | None = None


@cache  # a benchmark reads a file for its passport and its opset
def read_graph(path: Path) -> ModelProto:
    """Load an ONNX file; a UserError where it is none."""
    import onnx  # optional: the runner needs none

    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's errors have no class in common
        raise UserError(f"{path} is not an ONNX file ({first_line(error)})") from None


def passport_text(path: Path) -> str | None:
    """Return the passport's text in an ONNX file, OpenVINO or LiteRT model."""
    if path.suffix == ".tflite":
        return passport_in_litert(path.read_bytes())
    if path.suffix == ".xml":
        return passport_in(read_model(path))
    return next((entry.value for entry in read_graph(path).metadata_props if entry.key == METADATA_KEY), None)


def artifact_candidate(path: Path, device: str, hand_model: Path | None) -> Candidate:
    """Make the candidate of a file of this project; a UserError where it is none, or has no passport."""
    if path.suffix not in FORMATS:
        raise UserError(f"{path} cannot be measured here: give {' or '.join(FORMATS)} files")
    check_model_file(path)
    is_engine = path.suffix == ".engine"
    info = read_engine_passport(path)[1] if is_engine else parse_passport(passport_text(path), str(path))
    return Candidate(
        name=path.name if path.suffix in (".xml", ".tflite") else path.stem,  # beside the ONNX file of the same name
        kind=ARTIFACT,
        engine="runner",
        files=(str(path),),
        variant=info.variant,
        precision=info.precision,
        threaded=not is_engine,
        device=device,
        hand_model=None if hand_model is None else str(hand_model),
    )


def fp32_file(path: Path) -> Path:
    """Return where the fp32 file of the same network is: `er-s_224_int8.onnx` -> `er-s_224_fp32.onnx`, beside it."""
    return path.with_name("_".join([*path.stem.split("_")[:2], "fp32"]) + ".onnx")


def facts_of(candidate: Candidate) -> Facts:
    """Collect the facts of a candidate's file, or of its files together."""
    files = [Path(file) for file in dict.fromkeys(candidate.files)]
    build: dict[str, Any] = {}
    if files[0].suffix == ".engine":
        beside = json.loads(files[0].with_suffix(".json").read_text(encoding="utf-8"))
        passport, build = beside["model"], beside["engine"]
    else:
        passport = json.loads(passport_text(files[0]) or "{}")  # peers' files may say nothing
    size = {"params_m": _number(passport, "parameters_m"), "gmac": _number(passport, "gmac")}
    if candidate.engine == "torch":  # the files only say which network it is
        return Facts(Artifact(format="torch", precision=candidate.precision, **size))
    weights = [file.with_suffix(".bin") for file in files if file.suffix == ".xml"]
    artifact = Artifact(
        path=" + ".join(str(file) if candidate.kind == ARTIFACT else file.name for file in files),
        format=FORMATS.get(files[0].suffix),
        precision=candidate.precision,
        bytes=sum(file.stat().st_size for file in (*files, *weights)),
        sha256=file_sha256(files[0]) if len(files) == 1 else None,
        opset=_opset(files[0]) if files[0].suffix == ".onnx" else None,
        weights_sha256=passport.get("weights", {}).get("sha256"),
        **size,
    )
    parity = passport.get("parity")
    vertex_mm, projection_px, n = (_number(parity, key) for key in ("vertex_mm", "projection_px", "n_images"))
    known = None if None in (vertex_mm, projection_px, n) else ParityFacts(vertex_mm, projection_px, int(n))
    return Facts(artifact, known, _number(build, "build_seconds"))


def _opset(path: Path) -> int | None:
    return next((one.version for one in read_graph(path).opset_import if not one.domain), None)


def _number(facts: Any, key: str) -> Any:
    """Return a number, where it is one that a record can hold: a passport comes with its file from anywhere."""
    value = facts.get(key) if isinstance(facts, dict) else None
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e15 else None  # nor nan
