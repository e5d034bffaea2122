"""A real parse and build without a GPU: TensorRT for RTX shares the parser and the typed builder of TensorRT.

It proves that a graph parses and builds, for an RTX GPU, with that version's parser, and nothing about a Jetson: no
speed, no accuracy, and older parsers are stricter (compress.onnx.lint names the operators that they lack).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.tensorrt.builder import BuildSpec, build_plan
from runtime.errors import UserError, first_line

COMPUTE_CAPABILITY = "SM86"  # the nearest to Orin's 8.7 that it builds for
INSTALL = "pip install tensorrt-rtx-cu13==1.7.1.116 (x86-64, no GPU needed)"


@dataclass(frozen=True)
class BuildCheck:
    """How the build went. `passed` only where nothing was warned of: a warning about types is a wrong result."""

    status: str  # passed, failed, not_run
    what: str
    precision: str
    reasons: tuple[str, ...]
    parse_seconds: float | None = None
    build_seconds: float | None = None
    plan_bytes: int | None = None
    graph_layers: dict[str, int] | None = None  # convolutions and matrix products by precision

    def __str__(self) -> str:
        """Return one line."""
        line = f"{'; '.join([self.status, *self.reasons])} ({self.what}"
        if self.build_seconds is not None:
            line += f", parsed in {self.parse_seconds} s, built in {self.build_seconds} s"
        return f"{line})"


def check_build(path: Path, precision: str) -> BuildCheck:
    """Parse and build one ONNX file. `not_run` with what to install where TensorRT for RTX is missing."""
    try:
        import tensorrt_rtx as trt
    except (ImportError, OSError) as error:
        reason = f"TensorRT for RTX cannot be imported ({first_line(error)}): {INSTALL}"
        return BuildCheck("not_run", "TensorRT for RTX, build only", precision, (reason,))
    what = f"TensorRT for RTX {trt.__version__}, build only, for {COMPUTE_CAPABILITY}"
    try:
        plan = build_plan(trt, path.read_bytes(), BuildSpec(precision, compute_capability=COMPUTE_CAPABILITY))
    except UserError as error:
        return BuildCheck("failed", what, precision, (str(error),))
    return BuildCheck(
        status="failed" if plan.messages else "passed",
        what=what,
        precision=precision,
        reasons=plan.messages,
        parse_seconds=plan.parse_seconds,
        build_seconds=plan.build_seconds,
        plan_bytes=len(plan.content),
        graph_layers=plan.graph_layers,
    )
