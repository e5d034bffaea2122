"""The main command: `python compress/export.py --variant er-s --int8`.

Checkpoint (pruned, if asked for) -> ONNX fp32 -> parity with torch -> int8 or fp16 -> accuracy of the files on held-out
images through the runner -> latency in turn -> table, report.json and a passport beside each file; then the other
formats asked for. Files are put in place only when all of that has passed; nothing that existed is touched before.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from compress.channels import IMPORTANCES
from compress.check.verdict import NOT_RUN, PARITY_FAILED, PASSED, Verdict, judge_loss
from compress.formats import BASELINE, FORMATS, OnnxFile, artefact_name, export_label
from compress.onnx.calibration import METHODS
from compress.request import PRECISIONS, ExportRequest, check_request
from compress.source import load_weights, prune_first, split_trained
from runtime.errors import CommandParser, UserError, run_command
from training.network import VARIANTS, get_variant

if TYPE_CHECKING:
    import argparse

    from compress.check.measure import Figures
    from compress.passport import Passport
    from runtime.hand.hand_model import HandModel
    from training.data.frames import Frames
    from training.network import ERNet


def export(request: ExportRequest) -> dict[str, Any]:
    """Run the whole export and return the report's entry, whose `verdict.status` says how it ended.

    Raises UserError for anything the user can mend, before long work where that can be known.
    """
    from compress.check.measure import measure
    from compress.export_report import make_entry, read_report, write_passports, write_report
    from compress.onnx.onnx_files import Material, write_files
    from compress.other_formats import write_engine, write_package
    from compress.passport import embed
    from compress.precision_plan import read_plan
    from runtime.hand.hand_model import load_hand_models
    from training.data.dataset import open_frames
    from training.evaluate import dataset_label

    target = check_request(request)
    if request.plan is not None:
        read_plan(request.plan, request.variant)  # what is wrong with it is said before long work
    hands = load_hand_models(request.hand_model)
    request, pruning = prune_first(request)
    network, weights = load_weights(request, hands)
    network, trained = split_trained(request, network, target)
    plan = request.onnx_files(target)
    pruned = pruned_share(network)
    names = {file.label: artefact_name(request.variant, network.variant.crop_px, file.label, pruned) for file in plan}
    name = artefact_name(request.variant, network.variant.crop_px, export_label(request.precision, plan), pruned)
    report_path = request.output_dir / "report.json"
    report = read_report(report_path)

    with staging(request, names) as stage, tqdm(total=4, desc=request.variant, unit="step") as bar:
        bar.set_postfix_str("data")
        calibrated = trained is None and request.calib_data is None and any(file.calibrated for file in plan)
        train = open_frames(
            request.data, "train", hands, max(request.calibration_crops * calibrated, request.test_images)
        )
        test = open_frames(request.data, "test", hands, request.test_images)
        advance(bar, f"writing {request.precision}, on {dataset_label(test)}")
        passport = first_passport(request, network, weights, hands, test, pruning)
        files = {label: stage / f"{name}.onnx" for label, name in names.items()}
        written = write_files(request, files, plan, Material(network, trained, train, hands, target))
        for file in plan:  # the runner wants to know what it runs
            embed(files[file.label], replace(passport, precision=file.precision).to_dict())
        advance(bar, "measuring")
        runs_here = [file.label for file in plan if file.flavour != "trt"]
        figures = measure(network, files, train, test, hands, request.hand_model, trained, runs_here)
        verdict = judge(request, plan, figures)
        advance(bar, "passports")
        parity = {**asdict(figures.parity), "trained": asdict(figures.trained) if figures.trained else None}
        passport = replace(passport, parity=parity, verdict=asdict(verdict))
        entry = make_entry(passport, figures, write_passports(files, plan, passport, written, figures))
        if verdict.status == PASSED:
            fp32_mm = figures.accuracy[BASELINE].mpjpe_mm
            if "coreml" in request.formats:
                entry["formats"]["coreml"] = write_package(
                    request, network, stage, pruned, target, test, hands, passport, fp32_mm
                )
            if "tensorrt" in request.formats:
                entry["formats"]["tensorrt"] = write_engine(
                    request, files, plan, request.hand_model, test, hands, fp32_mm
                )
            publish(stage, request.output_dir)
            write_report(report_path, report, name, entry)
        advance(bar, verdict.status)
    return entry


def pruned_share(network: ERNet) -> float:
    """Of the multiply-accumulates, that pruned weights have lost."""
    from training.network import build
    from training.network.count import count_gmac

    if not network.widths:
        return 0.0
    crop_px = network.variant.crop_px
    return 1 - count_gmac(network, crop_px) / count_gmac(build(network.variant.name), crop_px)


def first_passport(
    request: ExportRequest,
    network: ERNet,
    weights: dict[str, Any],
    hands: tuple[HandModel, HandModel],
    test: Frames,
    pruning: dict[str, Any] | None,
) -> Passport:
    """What is known before anything is measured."""
    from compress.onnx.to_onnx import OPSET
    from compress.passport import Passport
    from training.evaluate import dataset_label
    from training.losses import DEPTH_RANGE_M
    from training.network.count import count_gmac, count_parameters_m

    size = network.variant.map_size
    return Passport(
        variant=request.variant,
        precision="fp32",
        input_px=network.variant.crop_px,
        parameters_m=round(count_parameters_m(network), 4),
        gmac=round(count_gmac(network, network.variant.crop_px), 4),
        opset=OPSET,
        heatmap={"depth": size, "height": size, "width": size, "depth_range_m": DEPTH_RANGE_M},
        hand_model={"name": hands[0].name, "sha256": hands[0].sha256},
        dataset=dataset_label(test),
        synthetic=test.synthetic,
        weights=weights,
        pruning=pruning,
        quantisation=None,
        calibration=None,
        parity={},
        accuracy={},
        latency_ms={},
        verdict=asdict(Verdict(NOT_RUN)),
        target=request.target,
    )


def judge(request: ExportRequest, plan: tuple[OnnxFile, ...], figures: Figures) -> Verdict:
    """Of the ONNX files, from parity and from the accuracy lost."""
    if not figures.parity.passed:
        return Verdict(PARITY_FAILED, ("the fp32 file does not give the torch network's hands",))
    if figures.trained is not None and not figures.trained.without_rounding.passed:
        return Verdict(PARITY_FAILED, ("the int8 file is not the network that was trained to be int8",))
    before = figures.accuracy[BASELINE].mpjpe_mm
    if before != before:
        return Verdict(NOT_RUN, ("no test image shows both hands: nothing could be measured",))
    verdicts = (
        judge_loss(file.label, figures.accuracy[file.label].mpjpe_mm - before, request.max_drop_mm) for file in plan
    )
    return next((verdict for verdict in verdicts if verdict.status != PASSED), Verdict(PASSED))


@contextmanager
def staging(request: ExportRequest, names: dict[str, str]) -> Iterator[Path]:
    """A folder beside the results to work in; it is gone afterwards, whatever happened."""
    folder = request.output_dir
    existing = [name for name in names.values() if (folder / f"{name}.onnx").exists()]
    if existing and not request.overwrite:
        raise UserError(f"{folder / existing[0]}.onnx exists: give --overwrite or another --output-dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        yield stage
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def publish(stage: Path, output_dir: Path) -> None:
    """Move every finished file into place, passports first: a model is never there without its own."""
    from compress.coreml.package import replace_package

    for path in sorted(stage.iterdir(), key=lambda p: p.suffix != ".json"):
        if path.is_dir():
            replace_package(path, output_dir / path.name)
        else:
            path.replace(output_dir / path.name)


def advance(bar: tqdm[NoReturn], what: str) -> None:
    """One step is done; the next one is called `what`."""
    bar.set_postfix_str(what, refresh=False)
    bar.update()
    bar.refresh()


PRECISION_HELP = {
    "w8": "weights alone as int8: smaller, not faster",
    "palette6": "6-bit palettes of weights, for --format coreml: smaller, not faster",
}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser(__doc__)
    parser.add_argument("--list", action="store_true", help="print the variants and stop")
    parser.add_argument("--variant", help=f"one of {', '.join(VARIANTS)}")
    precision = parser.add_mutually_exclusive_group()
    for name in PRECISIONS:
        flags = ["--fp16", "--half"] if name == "fp16" else [f"--{name}"]
        precision.add_argument(
            *flags, dest="precision", action="store_const", const=name, help=PRECISION_HELP.get(name)
        )
    parser.add_argument("--format", nargs="+", default=["onnx"], help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--image-input", action="store_true", help="Core ML packages take a picture, not an array")
    parser.add_argument("--checkpoint", type=Path, help="weights (.safetensors); default: the shipped ones")
    parser.add_argument("--random-weights", action="store_true", help="export untrained weights; the passport says so")
    parser.add_argument("--data", default="synthetic", help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    parser.add_argument("--target", help="a device profile of targets/; default: safe on every CPU")
    parser.add_argument("--prune", type=float, help="first lose this share of the multiply-accumulates, such as 0.3")
    parser.add_argument("--prune-to-ms", type=float, help="instead: to this latency of the fp32 file on this machine")
    parser.add_argument("--importance", help=f"of channels for --prune: {', '.join(IMPORTANCES)}")
    parser.add_argument("--finetune-steps", type=int, help="of recovering from --prune; default: none")
    parser.add_argument("--calib-samples", type=int, help="calibration crops; default 512")
    parser.add_argument("--calib-data", help="own pictures (a folder), an .npz, or a data set; default: that of --data")
    parser.add_argument("--calib-method", help=f"of {', '.join(METHODS)}; default: {METHODS[0]}")
    parser.add_argument("--test-images", type=int, default=1000, help="held-out images accuracy is measured on")
    parser.add_argument("--max-drop-mm", type=float, default=0.3, help="MPJPE the export may lose against fp32")
    parser.add_argument(
        "--keep-float", nargs="+", default=[], metavar="PATTERN", help="further nodes to leave in float"
    )
    parser.add_argument("--plan", type=Path, help="what stays float, as python -m compress.sensitivity found it")
    parser.add_argument("--output-dir", type=Path, default=Path("exports"))
    parser.add_argument("--overwrite", action="store_true", help="replace files of an earlier export")
    return parser.parse_args(arguments)


def request_of(args: argparse.Namespace) -> ExportRequest:
    """The request a command line stands for."""
    if args.variant is None:
        raise UserError("give --variant NAME (--list shows them)")
    get_variant(args.variant)
    return ExportRequest(
        variant=args.variant,
        precision=args.precision or BASELINE,
        formats=tuple(dict.fromkeys(args.format)),
        image_input=args.image_input,
        checkpoint=args.checkpoint,
        random_weights=args.random_weights,
        data=args.data,
        hand_model=args.hand_model,
        calib_samples=args.calib_samples,
        calib_data=args.calib_data,
        calib_method=args.calib_method,
        prune=args.prune,
        prune_to_ms=args.prune_to_ms,
        importance=args.importance,
        finetune_steps=args.finetune_steps,
        test_images=args.test_images,
        max_drop_mm=args.max_drop_mm,
        keep_float=tuple(args.keep_float),
        plan=args.plan,
        target=args.target,
        output_dir=args.output_dir,
        overwrite=args.overwrite,
    )


def main(arguments: list[str] | None = None) -> int:
    """Parse, export, print; 0 only where every format that was asked for `passed`."""
    from compress.export_report import print_result, print_variants

    args = parse_args(arguments)
    if args.list:
        print_variants()
        return 0
    request = request_of(args)
    entry = export(request)
    print_result(entry, request.output_dir)
    return 0 if all(entry["formats"].get(name, entry["verdict"])["status"] == PASSED for name in request.formats) else 1


if __name__ == "__main__":
    run_command(main)
