"""The passport: what an artefact is, beside it as JSON and inside it as metadata."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from runtime.backends.contract import HAND_AXIS, INPUT_NAME, METADATA_KEY, OUTPUT_UNITS, input_shape

TOOLS = ("torch", "onnx", "onnxruntime", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Passport:
    """Facts of one artefact. What was not measured is None."""

    variant: str
    precision: str
    input_px: int
    parameters_m: float
    gmac: float
    opset: int
    heatmap: dict[str, float]  # depth, height, width, depth_range_m
    hand_model: dict[str, str]  # name, sha256
    dataset: str  # with "(synthetic)" where it is
    synthetic: bool
    weights: dict[str, Any]  # sha256, random, and the facts of the training
    pruning: dict[str, Any] | None  # of the export that pruned; `weights` has the widths of any pruned network
    quantisation: dict[str, Any] | None
    calibration: dict[str, Any] | None  # data, n_images, sha256, method
    parity: dict[str, Any]
    accuracy: dict[str, Any]
    latency_ms: dict[str, Any]
    verdict: dict[str, Any]  # status, reasons
    target: str | None

    def to_dict(self) -> dict[str, Any]:
        """All facts with the graph contract, tools, command line, commit and time."""
        contract = {
            "input": {INPUT_NAME: {"shape": list(input_shape(self.input_px)), "unit": "RGB, 0..1"}},
            "outputs": OUTPUT_UNITS,
            "hand_axis": list(HAND_AXIS),
        }
        return {
            **asdict(self),
            "contract": contract,
            "tools": tool_versions(),
            "command": shlex.join(["python", *sys.argv]),
            "git_commit": git_commit(),
            "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }


def embed(path: Path, facts: dict[str, Any]) -> None:
    """Put the passport into an ONNX file's metadata, replacing an earlier one."""
    import onnx

    model = onnx.load(path)
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(facts))
    onnx.save(model, path)


def file_sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if sys.version_info >= (3, 11) else _digest(file.read())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
