"""What is known of a candidate before it runs: size, hash, products, and what its passport, not trusted, says."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.candidates.candidate import ARTIFACT, Candidate
from benchmarks.measure.graph_cost import count_gmac, read_graph
from benchmarks.records.record import Artifact, ParityFacts
from runtime.backends.contract import METADATA_KEY, parse_passport
from runtime.backends.opening import check_model_file
from runtime.errors import UserError
from runtime.files import file_sha256

MAX_PASSPORT_BYTES = 2**20
FORMATS = {".onnx": "onnx", ".engine": "tensorrt"}


@dataclass(frozen=True)
class Facts:
    """What a record says of one candidate, and what bounds are made from."""

    artifact: Artifact
    parity: ParityFacts | None = None
    build_s: float | None = None
    gmac: dict[str, float] = field(default_factory=dict)  # by the precision it is computed in; empty: not known


def artifact_candidate(path: Path, device: str, hand_model: Path | None) -> Candidate:
    """Make the candidate of a file of this project; a UserError where it is none, or has no passport."""
    if path.suffix not in FORMATS:
        raise UserError(f"{path} cannot be measured here: give {' or '.join(FORMATS)} files")
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
    """Return where the fp32 file of the same network is: `er-s_224_int8.onnx` -> `er-s_224_fp32.onnx`, beside it."""
    return path.with_name("_".join([*path.stem.split("_")[:2], "fp32"]) + ".onnx")


def facts_of(candidate: Candidate) -> Facts:
    """Collect the facts of a candidate's file, or of its files together."""
    files = [Path(file) for file in dict.fromkeys(candidate.files)]
    passport = read_passport(files[0]) if candidate.kind == ARTIFACT or candidate.variant else {}
    is_onnx = files[0].suffix == ".onnx"
    by_precision: dict[str, float] = {}
    if is_onnx:
        with suppress(UserError):  # shapes that are not fixed: the row runs, its share of the limit is not known
            for file in candidate.files:
                for precision, gmac in count_gmac(read_graph(Path(file))).items():
                    by_precision[precision] = by_precision.get(precision, 0.0) + gmac
    products = _number(passport, "gmac") or sum(by_precision.values()) or None
    if candidate.engine.startswith("torch"):  # the files only say which network it is
        params_m = _number(passport, "parameters_m")
        return Facts(Artifact(format="torch", precision=candidate.precision, params_m=params_m, gmac=products))
    shown = [str(file) if candidate.kind == ARTIFACT else file.name for file in files]  # made files by their names
    artifact = Artifact(
        path=" + ".join(shown),
        format=FORMATS.get(files[0].suffix),
        precision=candidate.precision,
        bytes=sum(file.stat().st_size for file in files),
        sha256=file_sha256(files[0]) if len(files) == 1 else None,
        opset=_opset(files[0]) if is_onnx else None,
        params_m=_number(passport, "parameters_m"),
        gmac=products,
    )
    if candidate.kind != ARTIFACT:
        return Facts(artifact, gmac=by_precision)
    built = {} if is_onnx else read_json(files[0].with_suffix(".json")).get("engine")
    build_s = _number(built, "build_seconds") if isinstance(built, dict) else None
    return Facts(artifact, _parity(passport), build_s, by_precision)


def read_passport(path: Path) -> dict[str, Any]:
    """Read what an ONNX file says of itself, or the JSON beside an engine of its model; empty where nothing is."""
    if path.suffix != ".onnx":
        model = read_json(path.with_suffix(".json")).get("model")
        return model if isinstance(model, dict) else {}
    metadata = {entry.key: entry.value for entry in read_graph(path).metadata_props}
    return _parse_object(metadata.get(METADATA_KEY, ""))


def read_json(path: Path) -> dict[str, Any]:
    """Read a small JSON object; empty where there is none."""
    try:
        return {} if path.stat().st_size > MAX_PASSPORT_BYTES else _parse_object(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


def _parse_object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _opset(path: Path) -> int | None:
    imports = read_graph(path).opset_import
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
