"""What is known of a candidate before it runs: size, hash, what its passport says. Passports are not trusted."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.candidates.candidate import ARTIFACT, Candidate
from benchmarks.measure.graph_cost import gmac, read_layers
from benchmarks.records.record import Artifact, ParityFacts
from compress.passport import file_sha256
from runtime.backends.contract import METADATA_KEY, parse_passport
from runtime.backends.opening import BACKENDS, check_model_file
from runtime.errors import UserError

MAX_PASSPORT_BYTES = 2**20
FORMATS = {".onnx": "onnx", ".engine": "tensorrt", ".mlpackage": "coreml"}
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Facts:
    """Of one candidate."""

    artifact: Artifact
    parity: ParityFacts | None = None
    build_s: float | None = None


def artifact_candidate(path: Path, device: str, hand_model: Path | None) -> Candidate:
    """The candidate of a file of this project; a UserError where it is none, or has no passport."""
    if path.suffix not in BACKENDS:
        raise UserError(f"{path} cannot be run here: give {' or '.join(BACKENDS)} files")
    check_model_file(path)
    passport = read_passport(path)
    info = parse_passport(json.dumps(passport) if passport else None, str(path))
    return Candidate(
        name=path.stem,
        kind=ARTIFACT,
        engine="runner",
        files=(str(path),),
        variant=info.variant,
        precision=info.precision,
        threaded=path.suffix == ".onnx",
        device=device,
        hand_model=None if hand_model is None else str(hand_model),
    )


def fp32_file(path: Path) -> Path:
    """The fp32 file of the same network: `er-s_224_int8.onnx` -> `er-s_224_fp32.onnx`, beside it."""
    return path.with_name("_".join([*path.stem.split("_")[:2], "fp32"]) + ".onnx")


def facts_of(candidate: Candidate) -> Facts:
    """Of its file, or of its files together."""
    paths = [Path(file) for file in candidate.files]
    suffix = paths[0].suffix
    passport = read_passport(paths[0]) if candidate.kind == ARTIFACT or candidate.variant else {}
    beside = read_json(paths[0].with_suffix(".json")) if suffix == ".engine" else {}
    engine = beside.get("engine")
    is_torch = candidate.engine.startswith("torch")
    products = _number(passport, "gmac")
    if products is None and suffix == ".onnx":
        with suppress(UserError):  # shapes that are not fixed: the row runs, its share of the limit is not known
            products = sum(gmac(read_layers(path, fuses=False)) for path in paths)
    artifact = Artifact(
        path=None if is_torch else " + ".join(dict.fromkeys(_shown(path, candidate) for path in paths)),
        format="torch" if is_torch else FORMATS.get(suffix),
        precision=candidate.precision,
        bytes=None if is_torch else sum(path.stat().st_size for path in dict.fromkeys(paths)),
        sha256=None if is_torch or len(set(paths)) > 1 else file_sha256(paths[0]),
        opset=None if is_torch else _opset(paths[0]),
        params_m=_number(passport, "parameters_m"),
        gmac=products,
    )
    parity = _parity(passport) if candidate.kind == ARTIFACT else None
    return Facts(artifact, parity, _number(engine, "build_seconds") if isinstance(engine, dict) else None)


def read_passport(path: Path) -> dict[str, Any]:
    """What an ONNX file says of itself, or the JSON beside an engine of the model in it; empty where nothing is."""
    if path.suffix != ".onnx":
        model = read_json(path.with_suffix(".json")).get("model")
        return model if isinstance(model, dict) else {}
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's errors have no class in common
        raise UserError(f"{path} is not an ONNX file ({str(error).splitlines()[0][:100]})") from None
    text = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), "")
    return _parse_object(text)


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; empty where there is none."""
    try:
        if path.stat().st_size > MAX_PASSPORT_BYTES:
            return {}
        return _parse_object(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


def _parse_object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _shown(path: Path, candidate: Candidate) -> str:
    """Artefacts by the path that was given; made and unpacked files by their name."""
    return str(path) if candidate.kind == ARTIFACT else path.name


def _opset(path: Path) -> int | None:
    if path.suffix != ".onnx":
        return None
    import onnx

    imports = onnx.load(path, load_external_data=False).opset_import
    return next((int(entry.version) for entry in imports if entry.domain in ("", "ai.onnx")), None)


def _parity(passport: dict[str, Any]) -> ParityFacts | None:
    facts = passport.get("parity")
    if not isinstance(facts, dict):
        return None
    vertex_mm, projection_px, count = (_number(facts, key) for key in ("vertex_mm", "projection_px", "n_images"))
    if vertex_mm is None or projection_px is None or count is None:
        return None
    return ParityFacts(vertex_mm, projection_px, int(count))


def _number(facts: dict[str, Any], key: str) -> float | None:
    value = facts.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:  # nor nan
        return None
    return float(value) if math.isfinite(value) else None
