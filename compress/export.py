"""The main command: `python compress/export.py --variant er-s --int8`.

Checkpoint -> ONNX fp32 -> parity with torch -> int8 or fp16 -> accuracy of both files on held-out images through the
runner -> latency of both in turn -> table, report.json and a passport beside each file. Files are put in place only
when all of it has passed; nothing that existed is touched before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.formats import FORMATS, artefact_name, get_format
from runtime.errors import CommandParser, UserError, run_command
from targets import Target, TargetError, load_target
from training.network import VARIANTS, get_variant

if TYPE_CHECKING:
    from training.data.interhand import Frames
    from training.metrics import Accuracy
    from training.network import ERNet

PARITY_CROPS = 64
MIN_CALIBRATION_CROPS = 32
PRECISIONS = ("fp32", "fp16", "int8")
VERDICTS = ("passed", "export_failed", "parity_failed", "accuracy_failed", "not_run")


@dataclass(frozen=True)
class ExportRequest:
    """What to export, from what, to where, and what it must hold."""

    variant: str
    precision: str = "fp32"
    checkpoint: Path | None = None  # None: the weights that come with the project
    random_weights: bool = False
    data: str = "synthetic"
    hand_model: Path | None = None  # None: the embedded hand
    calib_samples: int = 512
    test_images: int = 1000
    max_drop_mm: float = 0.3
    keep_float: tuple[str, ...] = ()
    target: str | None = None
    output_dir: Path = Path("exports")
    overwrite: bool = False


@dataclass(frozen=True)
class Verdict:
    """How an export ended. Only `passed` files are put in place."""

    status: str
    reasons: tuple[str, ...] = ()


def export(request: ExportRequest) -> dict[str, Any]:
    """Run the whole export and return the report's entry, whose `verdict.status` says how it ended.

    Raises UserError for anything the user can mend, before long work where that can be known.
    """
    from compress.crops import digest, load_crops
    from compress.half import convert_to_fp16
    from compress.parity import check_parity
    from compress.passport import Passport, embed, file_sha256
    from compress.quantize import KEEP_FLOAT, QuantizeSpec, quantize_cpu
    from compress.timing import time_alternately
    from compress.to_onnx import OPSET, write_onnx
    from runtime.hand_model import load_hand_models
    from training.data.dataset import open_frames
    from training.evaluate import dataset_label, evaluate, file_predictor, mean_pose_mpjpe_mm
    from training.losses import DEPTH_RANGE_M
    from training.network.count import count_gmac, count_parameters_m
    from training.publish import processor_name

    variant = get_variant(request.variant)
    target = check_request(request)
    network, weights = _network(request)
    hands = load_hand_models(request.hand_model)
    trained_on = weights.get("hand_model")
    if trained_on is not None and trained_on["sha256"] != hands[0].sha256:
        raise UserError(
            f"the weights were trained on hand model '{trained_on['name']}', not on '{hands[0].name}': "
            "give the matching --hand-model or other weights"
        )
    names = [artefact_name(variant.name, variant.crop_px, p) for p in dict.fromkeys(("fp32", request.precision))]
    report_path = request.output_dir / "report.json"
    report = read_report(report_path)

    with staging(request.output_dir, names, request.overwrite) as stage:
        base = stage / f"{names[0]}.onnx"
        say(f"{variant.name}: writing {base.name}")
        write_onnx(network, base)

        train = open_frames(request.data, "train", hands, request.calib_samples)
        test = open_frames(request.data, "test", hands, request.test_images)
        say(f"data: {dataset_label(test)}")
        parity = check_parity(
            network, base, load_crops(test, min(PARITY_CROPS, len(test)), variant.crop_px, "crops"), hands
        )

        last, quantisation, calibration = base, None, None
        if request.precision == "int8":
            last = stage / f"{names[-1]}.onnx"
            crops = load_crops(train, len(train), variant.crop_px, "calibration crops")
            spec = QuantizeSpec(KEEP_FLOAT + request.keep_float, target is None or target.int8_saturates)
            nodes = quantize_cpu(base, last, crops, spec)
            quantisation = {**asdict(spec), **asdict(nodes)}
            calibration = {"dataset": dataset_label(train), "n_images": len(crops), "sha256": digest(crops)}
        elif request.precision == "fp16":
            last = stage / f"{names[-1]}.onnx"
            convert_to_fp16(base, last)
        files = dict(zip(("fp32", request.precision), (base, last), strict=True))

        passport = Passport(
            variant=variant.name,
            precision="fp32",
            input_px=variant.crop_px,
            parameters_m=round(count_parameters_m(network), 4),
            gmac=round(count_gmac(network, variant.crop_px), 4),
            opset=OPSET,
            heatmap=dict.fromkeys(("depth", "height", "width"), variant.map_size) | {"depth_range_m": DEPTH_RANGE_M},
            hand_model={"name": hands[0].name, "sha256": hands[0].sha256},
            dataset=dataset_label(test),
            synthetic=test.synthetic,
            weights=weights,
            quantisation=None,
            calibration=None,
            parity=asdict(parity),
            accuracy={},
            latency_ms={},
            verdict={"status": "not_run", "reasons": []},
            target=request.target,
        )
        for precision, path in files.items():  # the runner wants to know what it runs
            embed(path, replace(passport, precision=precision).to_dict())

        accuracy = {}
        for precision, path in files.items():
            predict, crop_px = file_predictor(path, request.hand_model)
            errors = evaluate(predict, test, crop_px, hands, f"accuracy {precision}")
            accuracy[precision] = errors.accuracy(dataset_label(test))
        mean_pose_mm = mean_pose_mpjpe_mm(open_frames(request.data, "train", hands, request.test_images), test)
        latency, ratios = time_alternately(_runs(files, test, variant.crop_px), "fp32")
        verdict = judge(request, parity.passed, accuracy)

        entry: dict[str, Any] = {
            "variant": variant.name,
            "verdict": asdict(verdict),
            "mean_pose_mpjpe_mm": mean_pose_mm,
        }
        entry |= {"dataset": passport.dataset, "synthetic": test.synthetic, "parity": asdict(parity), "files": {}}
        for name, (precision, path) in zip(names, files.items(), strict=True):
            figures = asdict(accuracy[precision])
            figures["delta_vs_fp32_mm"] = accuracy[precision].mpjpe_mm - accuracy["fp32"].mpjpe_mm
            speed = asdict(latency[precision]) | {"threads": 1}
            if precision in ratios:
                speed["times_faster_than_fp32"] = asdict(ratios[precision])
            facts = replace(
                passport,
                precision=precision,
                accuracy=figures,
                latency_ms=speed,
                verdict=asdict(verdict),
                quantisation=quantisation if precision == "int8" else None,
                calibration=calibration if precision == "int8" else None,
            ).to_dict()
            embed(path, facts)
            facts |= {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
            path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
            entry["files"][name] = {k: facts[k] for k in ("precision", "bytes", "sha256", "accuracy", "latency_ms")}
        if ratios and ratios[request.precision].median < 1:
            entry["slower_because"] = explain_no_gain(last, request.precision)
        if verdict.status == "passed":
            publish(stage, request.output_dir)
            report["machine"] = processor_name()
            report["exports"][names[-1]] = entry
            write_report(report_path, report)
    return entry


def check_request(request: ExportRequest) -> Target | None:
    """Everything about a request that can be wrong without looking at the weights; the target's profile."""
    if request.precision not in PRECISIONS:
        raise UserError(f"unknown precision '{request.precision}' (there are {', '.join(PRECISIONS)})")
    if request.keep_float and request.precision != "int8":
        raise UserError("--keep-float has no effect without --int8")
    if request.calib_samples < MIN_CALIBRATION_CROPS:
        raise UserError(
            f"--calib-samples {request.calib_samples} is too few to calibrate on: at least {MIN_CALIBRATION_CROPS}"
        )
    if request.test_images < 1:
        raise UserError("--test-images must be at least 1")
    if not request.max_drop_mm >= 0:
        raise UserError(f"--max-drop-mm {request.max_drop_mm} must be 0 or more")
    if request.random_weights and request.checkpoint is not None:
        raise UserError("--random-weights and --checkpoint exclude each other")
    if request.target is None:
        return None
    try:
        target = load_target(request.target)
    except TargetError as error:
        raise UserError(str(error)) from error
    if request.precision not in target.precisions:
        raise UserError(
            f"{target.name} has no {request.precision} ({target.description}): it runs {', '.join(target.precisions)}"
        )
    return target


def judge(request: ExportRequest, parity_passed: bool, accuracy: dict[str, Accuracy]) -> Verdict:
    """The verdict, from parity and from the accuracy lost."""
    if not parity_passed:
        return Verdict("parity_failed", ("the fp32 file does not give the torch network's hands",))
    before, after = accuracy["fp32"].mpjpe_mm, accuracy[request.precision].mpjpe_mm
    if before != before:
        return Verdict("not_run", ("no test image shows both hands: nothing could be measured",))
    if not after - before <= request.max_drop_mm:
        lost = f"{request.precision} loses {after - before:.3f} mm MPJPE, more than --max-drop-mm {request.max_drop_mm}"
        return Verdict("accuracy_failed", (lost,))
    return Verdict("passed")


@contextmanager
def staging(output_dir: Path, names: list[str], overwrite: bool) -> Iterator[Path]:
    """A folder beside the results to work in; it is gone afterwards, whatever happened."""
    existing = [name for name in names if (output_dir / f"{name}.onnx").exists()]
    if existing and not overwrite:
        raise UserError(f"{output_dir / existing[0]}.onnx exists: give --overwrite or another --output-dir")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".export-", dir=output_dir))
    except OSError as error:
        raise UserError(f"cannot write to {output_dir}: {error.strerror}") from error
    try:
        yield stage
    except OSError as error:
        raise UserError(f"cannot write to {output_dir}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def publish(stage: Path, output_dir: Path) -> None:
    """Move every finished file into place, passports first: a model is never there without its own."""
    for path in sorted(stage.iterdir(), key=lambda p: p.suffix != ".json"):
        path.replace(output_dir / path.name)


def read_report(path: Path) -> dict[str, Any]:
    """The report of earlier exports into the same folder, or an empty one."""
    if not path.exists():
        return {"schema_version": 1, "exports": {}}
    try:
        report = json.loads(path.read_text())
        if not isinstance(report["exports"], dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a report of this command: move it away or give another --output-dir") from error
    return report


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Replace the report atomically."""
    from runtime.files import write_text_atomic

    write_text_atomic(path, json.dumps(report, indent=2) + "\n")


def explain_no_gain(path: Path, precision: str) -> str:
    """Why a file of lower precision is not faster on this machine, from its graph and the CPU's flags."""
    from compress.slowdown import explain

    return explain(path, precision)


def _network(request: ExportRequest) -> tuple[ERNet, dict[str, Any]]:
    """The network to export and what its passport says of the weights."""
    import torch

    from compress.passport import file_sha256
    from training.checkpoint import load_network, weights_of
    from training.network import build

    if request.random_weights:
        torch.manual_seed(0)
        return build(request.variant).eval(), {"random": True, "sha256": None}
    path = request.checkpoint or weights_of(request.variant)
    network, facts = load_network(path, request.variant)
    return network, {"random": False, "sha256": file_sha256(path), **asdict(facts)}


def _runs(files: dict[str, Path], test: Frames, crop_px: int) -> dict[str, Any]:
    """One frame through each file, on one thread: the network alone, on a real crop."""
    import onnxruntime

    from compress.crops import load_crops
    from runtime.runner import graph_input

    image = graph_input(load_crops(test, 1, crop_px, "crop")[0])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    runs = {}
    for precision, path in files.items():
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        runs[precision] = lambda session=session: session.run(None, {"image": image})
    return runs


def say(line: str) -> None:
    """A line of progress, on stderr: stdout holds the result."""
    print(line, file=sys.stderr, flush=True)


def print_result(entry: dict[str, Any], output_dir: Path) -> None:
    """The table and the verdict."""
    print(f"\n{entry['variant']}, {entry['dataset']}, protocol mcp-scaled, one thread")
    columns = ("file", "MB", "MPJPE mm", "lost mm", "MPVPE mm", "MRRPE mm", "ms", "faster")
    layout = "{:28s} {:>6s} {:>9s} {:>8s} {:>9s} {:>9s} {:>8s} {:>18s}"
    print(layout.format(*columns))
    for name, facts in entry["files"].items():
        accuracy, speed = facts["accuracy"], facts["latency_ms"]
        ratio = speed.get("times_faster_than_fp32")
        faster = f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})" if ratio else "1"
        figures = [accuracy[key] for key in ("mpjpe_mm", "delta_vs_fp32_mm", "mpvpe_mm", "mrrpe_mm")]
        cells = [f"{figure:.3f}" for figure in figures] + [f"{speed['median']:.2f}", faster]
        print(layout.format(f"{name}.onnx", f"{facts['bytes'] / 1e6:.2f}", *cells))
    print(layout.format("mean pose", "", f"{entry['mean_pose_mpjpe_mm']:.3f}", *[""] * 5).rstrip())
    parity = entry["parity"]
    worst = f"{parity['vertex_mm']:.5f} mm, {parity['projection_px']:.5f} px"
    print(f"parity with torch: {worst} over {parity['n_images']} crops")
    if "slower_because" in entry:
        print(f"slower than fp32 on this machine: {entry['slower_because']}")
    verdict = entry["verdict"]
    print("verdict: " + verdict["status"] + "".join(f"; {reason}" for reason in verdict["reasons"]))
    if verdict["status"] == "passed":
        last = list(entry["files"])[-1]
        print(f"next: python runtime/demo.py IMAGE --model {output_dir / last}.onnx")
    else:
        print(f"nothing was written to {output_dir}")


def print_variants() -> None:
    """The table of variants, counted, not typed."""
    from training.checkpoint import shipped_weights
    from training.network import build
    from training.network.count import count_gmac, count_parameters_m

    layout = "{:8s} {:>7s} {:>9s} {:>8s} {:>7s} {:>8s}  {:12s} {}"
    print(layout.format("variant", "crop px", "params M", "at most", "GMAC", "at most", "weights", "what for"))
    for name, variant in VARIANTS.items():
        network = build(name)
        params, gmac = count_parameters_m(network), count_gmac(network, variant.crop_px)
        counts = (f"{params:.2f}", f"{variant.params_budget_m:g}", f"{gmac:.3f}", f"{variant.gmac_budget:g}")
        shipped = "shipped" if shipped_weights(name) else "not shipped"
        print(layout.format(name, str(variant.crop_px), *counts, shipped, variant.purpose))


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser(__doc__)
    parser.add_argument("--list", action="store_true", help="print the variants and stop")
    parser.add_argument("--variant", help=f"one of {', '.join(VARIANTS)}")
    precision = parser.add_mutually_exclusive_group()
    for name in PRECISIONS:
        flags = ["--fp16", "--half"] if name == "fp16" else [f"--{name}"]
        precision.add_argument(*flags, dest="precision", action="store_const", const=name)
    parser.add_argument("--format", nargs="+", default=["onnx"], help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--checkpoint", type=Path, help="weights (.safetensors); default: the shipped ones")
    parser.add_argument("--random-weights", action="store_true", help="export untrained weights; the passport says so")
    parser.add_argument("--data", default="synthetic", help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    parser.add_argument("--target", help="a device profile of targets/; default: safe on every CPU")
    parser.add_argument("--calib-samples", type=int, help="calibration crops of the train split; default 512")
    parser.add_argument("--test-images", type=int, default=1000, help="held-out images accuracy is measured on")
    parser.add_argument("--max-drop-mm", type=float, default=0.3, help="MPJPE the export may lose against fp32")
    parser.add_argument(
        "--keep-float", nargs="+", default=[], metavar="PATTERN", help="further nodes to leave in float"
    )
    parser.add_argument("--output-dir", type=Path, default=Path("exports"))
    parser.add_argument("--overwrite", action="store_true", help="replace files of an earlier export")
    return parser.parse_args(arguments)


def request_of(args: argparse.Namespace) -> ExportRequest:
    """The request a command line stands for."""
    if args.variant is None:
        raise UserError("give --variant NAME (--list shows them)")
    get_variant(args.variant)
    precision = args.precision or "fp32"
    for name in args.format:
        if precision not in get_format(name).precisions:
            raise UserError(f"format {name} has no precision {precision}")
    if args.calib_samples is not None and precision != "int8":
        raise UserError("--calib-samples has no effect without --int8")
    return ExportRequest(
        variant=args.variant,
        precision=precision,
        checkpoint=args.checkpoint,
        random_weights=args.random_weights,
        data=args.data,
        hand_model=args.hand_model,
        calib_samples=512 if args.calib_samples is None else args.calib_samples,
        test_images=args.test_images,
        max_drop_mm=args.max_drop_mm,
        keep_float=tuple(args.keep_float),
        target=args.target,
        output_dir=args.output_dir,
        overwrite=args.overwrite,
    )


def main(arguments: list[str] | None = None) -> int:
    """Parse, export, print; 0 only where the verdict is `passed`."""
    args = parse_args(arguments)
    if args.list:
        print_variants()
        return 0
    request = request_of(args)
    entry = export(request)
    print_result(entry, request.output_dir)
    return 0 if entry["verdict"]["status"] == "passed" else 1


if __name__ == "__main__":
    run_command(main)
