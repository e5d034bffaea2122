"""The main command: `python compress/export.py --variant er-s --int8`.

Checkpoint (pruned, if asked for) -> ONNX fp32 -> parity with torch -> int8 or fp16 -> accuracy of both files on
held-out images through the runner -> latency of both in turn -> table, report.json and a passport beside each file.
Files are put in place only when all of it has passed; nothing that existed is touched before.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

from compress.calibration import METHODS
from compress.formats import FORMATS, artefact_name, get_format
from compress.pruning import IMPORTANCES
from compress.request import FEW_CALIBRATION_CROPS, MIN_CALIBRATION_CROPS, PRECISIONS, ExportRequest, check_request
from runtime.errors import CommandParser, UserError, run_command
from targets import Target
from training.network import VARIANTS, get_variant

if TYPE_CHECKING:
    import argparse

    from compress.crops import Crops
    from compress.measure import Figures
    from compress.passport import Passport
    from compress.quantize import QuantizedNodes
    from runtime.hand_model import HandModel
    from training.data.interhand import Frames
    from training.network import ERNet

VERDICTS = ("passed", "export_failed", "parity_failed", "accuracy_failed", "not_run")


@dataclass(frozen=True)
class Verdict:
    """How an export ended. Only `passed` files are put in place."""

    status: str
    reasons: tuple[str, ...] = ()


def export(request: ExportRequest) -> dict[str, Any]:
    """Run the whole export and return the report's entry, whose `verdict.status` says how it ended.

    Raises UserError for anything the user can mend, before long work where that can be known.
    """
    from compress.measure import measure
    from compress.passport import embed
    from compress.plan import read_plan
    from compress.report import make_entry, read_report, write_passports, write_report
    from runtime.hand_model import load_hand_models
    from training.data.dataset import open_frames
    from training.evaluate import dataset_label

    target = check_request(request)
    if request.plan is not None:
        read_plan(request.plan, request.variant)  # what is wrong with it is said before long work
    hands = load_hand_models(request.hand_model)
    request, pruning = prune_first(request)
    network, weights = load_weights(request, hands)
    network, trained = split_trained(request, network, target)
    names = artefact_names(request, network, target)
    report_path = request.output_dir / "report.json"
    report = read_report(report_path)

    with staging(request, names) as stage, tqdm(total=4, desc=request.variant, unit="step") as bar:
        bar.set_postfix_str("data")
        train = open_frames(request.data, "train", hands, max(request.calibration_crops, request.test_images))
        test = open_frames(request.data, "test", hands, request.test_images)
        advance(bar, f"writing {request.precision}, on {dataset_label(test)}")
        passport = first_passport(request, network, weights, hands, test, pruning)
        files = {precision: stage / f"{name}.onnx" for precision, name in names.items()}
        passport = write_files(request, files, network, trained, train, hands, target, passport)
        for precision, path in files.items():  # the runner wants to know what it runs
            embed(path, replace(passport, precision=precision).to_dict())
        advance(bar, "measuring")
        runs_here = flavour_of(target) == "cpu" or request.precision != "int8"
        figures = measure(network, files, train, test, hands, request.hand_model, trained, runs_here)
        verdict = judge(request, figures)
        advance(bar, "passports")
        parity = {**asdict(figures.parity), "trained": asdict(figures.trained) if figures.trained else None}
        passport = replace(passport, parity=parity, verdict=asdict(verdict))
        entry = make_entry(passport, figures, write_passports(files, passport, figures))
        if verdict.status == "passed":
            publish(stage, request.output_dir)
            write_report(report_path, report, names[request.precision], entry)
        advance(bar, verdict.status)
    return entry


def prune_first(request: ExportRequest) -> tuple[ExportRequest, dict[str, Any] | None]:
    """With --prune: the request with the pruned checkpoint, and what pruning saved."""
    if request.prune is None:
        return request, None
    from compress.prune import PruneRequest, run

    path, figures = run(
        PruneRequest(
            request.variant,
            request.checkpoint,
            request.prune,
            importance=request.importance or IMPORTANCES[0],
            finetune_steps=request.finetune_steps or 0,
            data=request.data,
            hand_model=request.hand_model,
        )
    )
    return replace(request, checkpoint=path, prune=None), figures


def flavour_of(target: Target | None) -> str:
    """The flavour of int8; without a target that of CPUs."""
    return "cpu" if target is None or target.int8_flavour is None else target.int8_flavour


def artefact_names(request: ExportRequest, network: ERNet, target: Target | None) -> dict[str, str]:
    """Names of the files by precision: always fp32, which the other is measured against."""
    from compress.flavours import get_flavour
    from training.network import build
    from training.network.count import count_gmac

    crop_px = network.variant.crop_px
    pruned = 1 - count_gmac(network, crop_px) / count_gmac(build(request.variant), crop_px) if network.widths else 0.0
    suffixes = {"fp32": "fp32", "fp16": "fp16", "int8": get_flavour(flavour_of(target)).suffix}
    precisions = dict.fromkeys(("fp32", request.precision))
    return {p: artefact_name(request.variant, crop_px, suffixes[p], pruned) for p in precisions}


def load_weights(request: ExportRequest, hands: tuple[HandModel, HandModel]) -> tuple[ERNet, dict[str, Any]]:
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
    if facts.hand_model["sha256"] != hands[0].sha256:
        raise UserError(
            f"the weights were trained on hand model '{facts.hand_model['name']}', not on '{hands[0].name}': "
            "give the matching --hand-model or other weights"
        )
    return network, {"random": False, "sha256": file_sha256(path), **asdict(facts)}


def split_trained(request: ExportRequest, network: ERNet, target: Target | None) -> tuple[ERNet, ERNet | None]:
    """The float network, and for an int8 export of weights trained to be int8 the network that rounds."""
    from training.qat import float_network, quantization_of

    trained = quantization_of(network)
    if trained is None:
        return network, None
    plain = float_network(network, rounded=False)
    if request.precision != "int8":
        return plain, None
    for flag, given in request.int8_only.items():
        if given:
            raise UserError(
                f"{flag} has no effect: {request.checkpoint} was trained to be int8, its layers and ranges are set"
            )
    if flavour_of(target) != "cpu":
        raise UserError(f"{request.checkpoint} was trained to be int8 on CPUs: give another --target, or float weights")
    if not trained.spec.reduce_range and int8_saturates(target):
        where = (
            target.name if target else "some CPU that the file may run on: give a --target whose int8 does not saturate"
        )
        raise UserError(f"{request.checkpoint} was trained for 8-bit weights, which overflow on {where}")
    return plain, network


def int8_saturates(target: Target | None) -> bool:
    """Whether weights must keep to 7 bits."""
    return target is None or target.int8_saturates


def first_passport(
    request: ExportRequest,
    network: ERNet,
    weights: dict[str, Any],
    hands: tuple[HandModel, HandModel],
    test: Frames,
    pruning: dict[str, Any] | None,
) -> Passport:
    """What is known before anything is measured."""
    from compress.passport import Passport
    from compress.to_onnx import OPSET
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
        verdict=asdict(Verdict("not_run")),
        target=request.target,
    )


def write_files(
    request: ExportRequest,
    files: dict[str, Path],
    network: ERNet,
    trained: ERNet | None,
    train: Frames,
    hands: tuple[HandModel, HandModel],
    target: Target | None,
    passport: Passport,
) -> Passport:
    """Write the files by precision; the passport with what was done to the weights."""
    from compress.crops import digest
    from compress.flavours import quantize
    from compress.half import convert_to_fp16
    from compress.to_onnx import write_onnx
    from training.flavour import KEEP_FLOAT, QuantizeSpec

    write_onnx(network, files["fp32"])
    if request.precision == "fp16":
        convert_to_fp16(files["fp32"], files["fp16"])
    elif trained is not None:
        passport = replace(passport, quantisation=write_trained(trained, files["int8"]))
    elif request.precision == "int8":
        source, crops = calibration_crops(request, train, hands, network.variant.crop_px)
        spec = QuantizeSpec(KEEP_FLOAT + request.keep_float, int8_saturates(target))
        flavour = flavour_of(target)
        nodes = planned_nodes(request, files["fp32"], flavour)
        nodes = quantize(files["fp32"], files["int8"], crops, spec, flavour, request.calibration, nodes)
        made_on = {"data": source, "n_images": len(crops), "sha256": digest(crops), **asdict(request.calibration)}
        done = {"flavour": flavour, **asdict(spec), **asdict(nodes)}
        passport = replace(passport, quantisation=done, calibration=made_on)
    if request.precision == "int8":
        check_rules(files["int8"], flavour_of(target))
    return passport


def planned_nodes(request: ExportRequest, source: Path, flavour: str) -> QuantizedNodes | None:
    """What the plan says of the float file's nodes, None without a plan."""
    if request.plan is None:
        return None
    from compress.plan import nodes_of, read_plan
    from compress.quantize import load_float

    plan = read_plan(request.plan, request.variant)
    if plan.flavour != flavour:
        raise UserError(f"{request.plan} was made for flavour {plan.flavour}, the target takes {flavour}")
    return nodes_of(plan, load_float(source))


def calibration_crops(
    request: ExportRequest, train: Frames, hands: tuple[HandModel, HandModel], crop_px: int
) -> tuple[str, Crops]:
    """What ranges are measured on, with its name; a warning for few, a UserError for too few."""
    from compress.crops import load_crops, load_own_crops
    from training.data.dataset import SYNTHETIC, open_frames
    from training.evaluate import dataset_label

    given, count = request.calib_data, request.calibration_crops
    if given is not None and given != SYNTHETIC and not (Path(given) / "annotations").is_dir():
        crops, name = load_own_crops(Path(given), count, crop_px), Path(given).name
    else:
        if given is not None:
            train = open_frames(given, "train", hands, count)
        crops, name = load_crops(train, min(count, len(train)), crop_px, "calibration crops"), dataset_label(train)
    if len(crops) < MIN_CALIBRATION_CROPS:
        raise UserError(f"{given or name} has {len(crops)} calibration images: at least {MIN_CALIBRATION_CROPS}")
    if len(crops) < FEW_CALIBRATION_CROPS:
        tqdm.write(f"warning: only {len(crops)} calibration images, {FEW_CALIBRATION_CROPS} or more are safer")
    return name, crops


def check_rules(path: Path, flavour: str) -> None:
    """The linter on a file just written: a fault of this program, not of the user."""
    import onnx

    from compress.lint import lint

    if violations := lint(onnx.load(path), flavour):
        raise ValueError(f"the {flavour} file breaks its rules: {violations[0]} (and {len(violations) - 1} more)")


def write_trained(trained: ERNet, path: Path) -> dict[str, Any]:
    """Write the int8 file of a network trained to be int8; what its passport says of it."""
    from compress.flavours.cpu import write_trained as write_trained_int8
    from compress.to_onnx import write_onnx
    from training.qat import float_network, quantization_of, ranges_of

    quantization = quantization_of(trained)
    assert quantization is not None
    source = path.with_suffix(".rounded.onnx")
    write_onnx(float_network(trained, rounded=True), source)
    nodes = write_trained_int8(source, path, ranges_of(trained), quantization.spec)
    source.unlink()
    return {**asdict(quantization.spec), **asdict(nodes)}


def judge(request: ExportRequest, figures: Figures) -> Verdict:
    """The verdict, from parity and from the accuracy lost."""
    if not figures.parity.passed:
        return Verdict("parity_failed", ("the fp32 file does not give the torch network's hands",))
    if figures.trained is not None and not figures.trained.without_rounding.passed:
        return Verdict("parity_failed", ("the int8 file is not the network that was trained to be int8",))
    before, after = figures.accuracy["fp32"].mpjpe_mm, figures.accuracy[request.precision].mpjpe_mm
    if before != before:
        return Verdict("not_run", ("no test image shows both hands: nothing could be measured",))
    if not after - before <= request.max_drop_mm:
        lost = f"{request.precision} loses {after - before:.3f} mm MPJPE, more than --max-drop-mm {request.max_drop_mm}"
        return Verdict("accuracy_failed", (lost,))
    return Verdict("passed")


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
    for path in sorted(stage.iterdir(), key=lambda p: p.suffix != ".json"):
        path.replace(output_dir / path.name)


def advance(bar: tqdm[NoReturn], what: str) -> None:
    """One step is done; the next one is called `what`."""
    bar.set_postfix_str(what, refresh=False)
    bar.update()
    bar.refresh()


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
    parser.add_argument("--prune", type=float, help="first lose this share of the multiply-accumulates, such as 0.3")
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
    precision = args.precision or "fp32"
    for name in args.format:
        if precision not in get_format(name).precisions:
            raise UserError(f"format {name} has no precision {precision}")
    return ExportRequest(
        variant=args.variant,
        precision=precision,
        checkpoint=args.checkpoint,
        random_weights=args.random_weights,
        data=args.data,
        hand_model=args.hand_model,
        calib_samples=args.calib_samples,
        calib_data=args.calib_data,
        calib_method=args.calib_method,
        prune=args.prune,
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
    """Parse, export, print; 0 only where the verdict is `passed`."""
    from compress.report import print_result, print_variants

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
