"""What is known of a candidate before it runs: size, hash, products, and what its passport says."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.candidates.candidate import ARTIFACT, Candidate
from benchmarks.measure.graph_cost import count_gmac, passport_text, read_graph
from benchmarks.records.record import Artifact, ParityFacts
from runtime.backends.contract import parse_passport
from runtime.backends.engine_passport import read_engine_passport
from runtime.backends.litert_engine import passport_in as passport_in_litert
from runtime.backends.opening import check_model_file
from runtime.backends.openvino_engine import passport_in, read_model
from runtime.errors import UserError
from runtime.files import file_sha256

FORMATS = {".onnx": "onnx", ".engine": "tensorrt", ".xml": "openvino", ".tflite": "litert"}


@dataclass(frozen=True)
class Facts:
    """What a record says of one candidate, and what bounds are made from."""

    artifact: Artifact
    parity: ParityFacts | None = None
    build_s: float | None = None
    gmac: dict[str, float] = field(default_factory=dict)  # by the precision it is computed in; empty: not known


def artifact_candidate(path: Path, device: str, hand_model: Path | str | None) -> Candidate:
    """Make the candidate of a file of this project; a UserError where it is none, or has no passport."""
    if path.suffix not in FORMATS:
        raise UserError(f"{path} cannot be measured here: give {' or '.join(FORMATS)} files")
    check_model_file(path)
    is_engine, is_ir = path.suffix == ".engine", path.suffix == ".xml"
    info = read_engine_passport(path)[1] if is_engine else parse_passport(_embedded(path), str(path))
    return Candidate(
        name=path.name if is_ir or path.suffix == ".tflite" else path.stem,  # beside the ONNX file of the same name
        kind=ARTIFACT,
        engine="openvino" if is_ir else "runner",
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
    is_onnx = files[0].suffix == ".onnx"
    passport, build = _passport(files[0])
    gmac: dict[str, float] = {}
    if is_onnx:
        with suppress(UserError):  # shapes that are not fixed: the row runs, its share of the limit is not known
            for file in candidate.files:
                for precision, count in count_gmac(read_graph(Path(file))).items():
                    gmac[precision] = gmac.get(precision, 0.0) + count
    products = _number(passport, "gmac") or sum(gmac.values()) or None
    params_m = _number(passport, "parameters_m")
    if candidate.engine == "torch":  # the files only say which network it is
        return Facts(Artifact(format="torch", precision=candidate.precision, params_m=params_m, gmac=products))
    shown = [str(file) if candidate.kind == ARTIFACT else file.name for file in files]  # made files by their names
    artifact = Artifact(
        path=" + ".join(shown),
        format=FORMATS.get(files[0].suffix),
        precision=candidate.precision,
        bytes=sum(part.stat().st_size for file in files for part in _parts(file)),
        sha256=file_sha256(files[0]) if len(files) == 1 else None,
        opset={one.domain: one.version for one in read_graph(files[0]).opset_import}.get("") if is_onnx else None,
        params_m=params_m,
        gmac=products,
    )
    return Facts(artifact, _parity(passport), _number(build, "build_seconds"), gmac)


def in_openvino(candidate: Candidate) -> Candidate:
    """Make the row of an ONNX file that OpenVINO runs."""
    return replace(candidate, name=f"{candidate.name} in OpenVINO", engine="openvino")


def _parts(path: Path) -> list[Path]:
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _embedded(path: Path) -> str | None:
    """Return the passport's text in an ONNX file, OpenVINO or LiteRT model."""
    if path.suffix == ".tflite":
        return passport_in_litert(path.read_bytes())
    if path.suffix == ".xml":
        return passport_in(read_model(path))
    return passport_text(path)


def _passport(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a file says of its network, and an engine of its build; peers' files may say nothing.

    `artifact_candidate` has checked the passports that there are.
    """
    if path.suffix != ".engine":
        return json.loads(_embedded(path) or "{}"), {}
    beside = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return beside["model"], beside["engine"]


def _parity(passport: dict[str, Any]) -> ParityFacts | None:
    facts = passport.get("parity")
    if not isinstance(facts, dict):
        return None
    vertex_mm, projection_px, count = (_number(facts, key) for key in ("vertex_mm", "projection_px", "n_images"))
    if vertex_mm is None or projection_px is None or count is None:
        return None
    return ParityFacts(vertex_mm, projection_px, int(count))


def _number(facts: dict[str, Any], key: str) -> float | None:
    """Return a number, where it is one that a record can hold: a passport comes with its file from anywhere."""
    value = facts.get(key)
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e15 else None  # nor nan
