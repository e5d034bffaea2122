"""An artefact: one exported file and all that is known of it. Every step of an export gives it back with more in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compress.check.timing import Latency, Ratio
from training.evaluation.scores import Accuracy

BASELINE = "fp32"
WEIGHTS_ONLY = "coreml-w8"  # the int8 flavour that computes in float
PASSED, NOT_RUN = "passed", "not_run"
EXPORT_FAILED, PARITY_FAILED, ACCURACY_FAILED = "export_failed", "parity_failed", "accuracy_failed"


@dataclass(frozen=True)
class Verdict:
    """How an artefact, or all of a format, ended; only what `passed` is put in place."""

    status: str
    reasons: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.status == PASSED


PENDING = Verdict(NOT_RUN)  # nothing speaks against it yet


@dataclass(frozen=True)
class Artefact:
    """One exported file: planned, then written, checked, measured and judged, each by dataclasses.replace."""

    format: str  # of formats.FORMATS
    precision: str  # fp32, fp16, int8, w8
    label: str  # what tells it apart in names and tables: fp32, int8, int8-trt
    flavour: str | None = None  # of int8 files
    path: Path = Path()  # where it lies, once it has a name
    quantisation: dict[str, Any] | None = None  # what was done to its weights
    calibration: dict[str, Any] | None = None  # data, n_images, sha256, method
    parity: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)  # what its format alone has to say, for the report
    accuracy: Accuracy | None = None
    lost_mm: float | None = None  # MPJPE, against the fp32 file
    latency: Latency | None = None  # None: made for another machine
    ratio: Ratio | None = None  # how many times faster than the fp32 file
    verdict: Verdict = PENDING

    @property
    def calibrated(self) -> bool:
        """Whether its activations are rounded, by ranges measured before."""
        return self.flavour not in (None, WEIGHTS_ONLY)

    def accuracy_facts(self) -> dict[str, Any]:
        """Its accuracy as passports and reports have it."""
        return asdict(self.accuracy) | {"delta_vs_fp32_mm": self.lost_mm} if self.accuracy is not None else {}
