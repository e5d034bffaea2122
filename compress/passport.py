"""The passport: what an artefact is, beside it as JSON and inside it as metadata."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from compress.artefact import Artefact
from runtime.backends.contract import METADATA_KEY

TOOLS = ("torch", "onnx", "onnxruntime", "numpy", "opencv-python-headless", "openvino", "nncf", "ai-edge-litert")


def passport(artefact: Artefact, common: dict[str, Any], untimed: str) -> dict[str, Any]:
    """All facts of an artefact; `untimed`: why it has no latency, where it has none. What was not measured is None."""
    latency: dict[str, Any] = {"median": None, "reason": untimed}
    if artefact.latency is not None:
        latency = asdict(artefact.latency) | {"threads": 1}
    if artefact.ratio is not None:
        latency["times_faster_than_fp32"] = asdict(artefact.ratio)
    return common | {
        "precision": artefact.precision,
        "quantisation": artefact.quantisation,
        "calibration": artefact.calibration,
        "parity": artefact.parity,
        "accuracy": artefact.accuracy_facts(),
        "latency_ms": latency,
        "verdict": asdict(artefact.verdict),
    }


def embed(path: Path, facts: dict[str, Any]) -> int:
    """Put the passport into an ONNX file's metadata, replacing an earlier one; gives its opset, which is in it, too."""
    import onnx

    model = onnx.load(path)
    opset = int(model.opset_import[0].version)
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, known | {METADATA_KEY: json.dumps(facts | {"opset": opset})})
    onnx.save(model, path)
    return opset


def tool_versions() -> dict[str, str | None]:
    """Of what shaped the file."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for tool in TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            versions[tool] = None
    return versions


def git_commit() -> str | None:
    """The checkout's commit, with '+changes' where the tree differs from it; None outside a checkout."""
    root = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
