"""Hold every shipped export against a committed reference: size, error and speed, with tolerances.

`python -m benchmarks.tools.reference` exports all shipped variants from a small synthetic set of its own and compares;
exit code 1 where something is out of tolerance. `--write` makes the reference anew, for a change that is meant.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.records.typed_json import BadJson, parse_json
from compress.check.advice import has_int8_dot_products
from compress.export import export
from compress.request import ExportRequest
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic
from runtime.machine import processor_name
from training.checkpoint import shipped_weights
from training.data.cache import CACHE_VARIABLE
from training.data.synthhands import ensure_synthetic
from training.network import VARIANTS

REFERENCE = Path(__file__).parents[1] / "results" / "reference.json"
IMAGES = 128  # for calibration, and of the test split: few, so that a test can hold the exports against it
EXPORTS = (("int8", ("onnx", "tensorrt")), ("w8", ("onnx",)), ("fp16", ("onnx",)))


@dataclass(frozen=True)
class Expected:
    """Of one file."""

    bytes: int
    mpjpe_mm: float  # on the small synthetic set
    times_faster: float | None  # than fp32; None: made for another machine


@dataclass(frozen=True)
class Tolerances:
    """How far a file may be from what is expected."""

    size_pct: float = 2.0
    mpjpe_mm: float = 0.15  # CPUs with and without int8 dot products differ by up to 0.05
    # The least share of the expected gain that must be left; only of CPUs with int8 dot products, as the one it was
    # measured on has. Ratios on a busy machine vary by a quarter.
    speed: float = 0.6


@dataclass(frozen=True)
class Reference:
    """All files by name."""

    dataset: str
    machine: str
    tolerances: Tolerances
    files: dict[str, Expected]


def measure_exports(variants: Iterable[str]) -> tuple[str, dict[str, Expected]]:
    """Export each variant in every flavour; return the data set's label, and the files by name."""
    found: dict[str, Expected] = {}
    dataset = ""
    with tempfile.TemporaryDirectory() as folder:
        for variant in variants:
            for precision, formats in EXPORTS:
                request = ExportRequest(
                    variant,
                    precision,
                    formats,
                    calib_samples=IMAGES if precision == "int8" else None,
                    test_images=IMAGES,
                    max_drop_mm=1.0,
                    output_dir=Path(folder) / precision,
                )
                entry = export(request)
                if entry["verdict"]["status"] != "passed":
                    raise UserError(f"{variant} {precision}: {'; '.join(entry['verdict']['reasons'])}")
                dataset = entry["dataset"]
                found |= {name: _expected(facts) for name, facts in entry["files"].items()}
    return dataset, found


def _expected(facts: Mapping[str, Any]) -> Expected:
    ratio = facts["latency_ms"].get("times_faster_than_fp32")
    # Passports, with the time and command in them, are part of a file: sizes vary by some hundred bytes.
    return Expected(facts["bytes"], round(facts["accuracy"]["mpjpe_mm"], 4), ratio and round(ratio["median"], 3))


def deviations(reference: Reference, found: Mapping[str, Expected], timed: bool) -> list[str]:
    """Name everything out of tolerance, one line each; `timed`: whether this CPU's speed can be compared."""
    lines = [f"{name}: is not exported any more" for name in reference.files if name not in found]
    lines += [f"{name}: has no reference" for name in found if name not in reference.files]
    allowed = reference.tolerances
    for name, expected in reference.files.items():
        if name not in found:
            continue
        now = found[name]
        if abs(now.bytes - expected.bytes) > expected.bytes * allowed.size_pct / 100:
            lines.append(f"{name}: {now.bytes} bytes, expected {expected.bytes} within {allowed.size_pct} %")
        if not abs(now.mpjpe_mm - expected.mpjpe_mm) <= allowed.mpjpe_mm:
            lines.append(f"{name}: {now.mpjpe_mm} mm MPJPE, expected {expected.mpjpe_mm} within {allowed.mpjpe_mm}")
        if expected.times_faster is None or not timed:
            continue
        if now.times_faster is None or now.times_faster < allowed.speed * expected.times_faster:
            least = allowed.speed * expected.times_faster
            lines.append(f"{name}: {now.times_faster} times the speed of fp32, at least {least:.2f} of it expected")
    return lines


@contextmanager
def small_set() -> Iterator[None]:
    """Use a cache of its own with IMAGES images of each split: figures do not depend on what lies in the user's."""
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = folder
        try:
            for split in ("train", "test"):
                ensure_synthetic(split, IMAGES)
            yield
        finally:
            os.environ.pop(CACHE_VARIABLE)
            if before is not None:
                os.environ[CACHE_VARIABLE] = before


def read_reference(path: Path = REFERENCE) -> Reference:
    """Read the committed one; a UserError where it is damaged."""
    try:
        return parse_json(Reference, path.read_text(encoding="utf-8"))
    except (OSError, BadJson) as error:
        how = "make it with python -m benchmarks.tools.reference --write"
        raise UserError(f"{path} is no reference ({error}): {how}") from None


def shipped() -> list[str]:
    """Return the variants that come with weights."""
    return [name for name in VARIANTS if shipped_weights(name)]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and compare or write."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--write", action="store_true", help="replace the reference by what is measured now")
    args = parser.parse_args(arguments)
    reference = None if args.write else read_reference()
    with small_set():
        dataset, found = measure_exports(shipped())
    if reference is None:
        made = Reference(dataset, processor_name(), Tolerances(), found)
        write_text_atomic(REFERENCE, json.dumps(asdict(made), indent=2) + "\n")
        print(f"{len(found)} files in {REFERENCE.name}")
        return 0
    lines = deviations(reference, found, has_int8_dot_products())
    print("\n".join(lines or [f"{len(found)} files are as expected"]))
    return int(bool(lines))


if __name__ == "__main__":
    run_command(main)
