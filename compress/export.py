"""The main command: `python compress/export.py --variant er-s --int8`.

Checkpoint (pruned, if asked for) -> ONNX fp32 -> parity with torch -> int8 or fp16 -> accuracy of the files on held-out
images through the runner -> latency in turn -> table, report.json and a passport beside each file; then the other
formats asked for. Files are put in place only when all of that has passed; nothing that existed is touched before.
"""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from tqdm import tqdm

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from compress.artefact import ACCURACY_FAILED, BASELINE, NOT_RUN, PASSED, PENDING, Artefact, Verdict
from compress.channels import IMPORTANCES
from compress.check.advice import advise
from compress.check.scoring import score
from compress.check.timing import one_frame, time_alternately
from compress.coreml.package import replace_package
from compress.export_report import add_to_report, make_entry, print_result, print_variants, read_report, verdict_of
from compress.formats import FORMATS, export_label, plan_artefacts
from compress.material import Material, gather, load_weights, recover_weights
from compress.onnx.calibration import METHODS
from compress.passport import passport
from compress.request import ExportRequest
from compress.request_check import PRECISIONS, check_request
from runtime.errors import CommandParser, UserError, run_command
from runtime.hand.hand_model import load_hand_models
from training.evaluation.baselines import mean_pose_mpjpe_mm
from training.network import VARIANTS, ERNet, build
from training.network.count import count_gmac

Artefacts = tuple[Artefact, ...]
Bar: TypeAlias = "tqdm[NoReturn]"
REPORT = "report.json"


def export(request: ExportRequest) -> dict[str, Any]:
    """Run the whole export and return the report's entry, whose `verdict.status` says how it ended.

    Raises UserError for anything the user can mend, before long work where that can be known.
    """
    target = check_request(request)
    planned = plan_artefacts(request, target)
    hands = load_hand_models(request.hand_model)
    weights = load_weights(request, target, planned, hands)
    named = name_artefacts(planned, weights.network)
    with staging(request, named) as stage, tqdm(total=len(named) + 2, desc=request.variant, unit="step") as bar:
        weights = recover_weights(request, weights)
        material = gather(request, target, named, hands, weights)
        artefacts = make_all(named, stage, material, bar)
        artefacts = time_all(artefacts, material, bar)
        artefacts = write_passports(artefacts, material)
        advance(bar, "")
        mean_pose_mm = mean_pose_mpjpe_mm(material.train, material.test.frames)
        entry = make_entry(artefacts, material.facts, mean_pose_mm, advise(artefacts))
        if entry["verdict"]["status"] == PASSED:
            publish(artefacts, stage, request.output_dir)
            name = file_stem(weights.network, export_label(request.precision, named))
            add_to_report(request.output_dir / REPORT, name, entry)
    return entry


def name_artefacts(planned: Artefacts, network: ERNet) -> Artefacts:
    """The same with their file names."""
    return tuple(
        replace(artefact, path=Path(file_stem(network, artefact.label) + FORMATS[artefact.format].suffix))
        for artefact in planned
    )


def file_stem(network: ERNet, label: str) -> str:
    """`er-s_224_int8`, `er-s-p30_224_int8` where 30 % of the multiply-accumulates were pruned away."""
    variant, share = network.variant, ""
    if network.widths:
        left = count_gmac(network, variant.crop_px) / count_gmac(build(variant.name), variant.crop_px)
        share = f"-p{round(100 * (1 - left))}"
    return f"{variant.name}{share}_{variant.crop_px}_{label}"


@contextmanager
def staging(request: ExportRequest, artefacts: Artefacts) -> Iterator[Path]:
    """A folder beside the results to work in; it is gone afterwards, whatever happened.

    UserError, before any work, where results may not go there.
    """
    folder = request.output_dir
    read_report(folder / REPORT)
    existing = [folder / artefact.path for artefact in artefacts if (folder / artefact.path).exists()]
    if existing and not request.overwrite:
        raise UserError(f"{existing[0]} exists: give --overwrite or another --output-dir")
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


def make_all(named: Artefacts, stage: Path, material: Material, bar: Bar) -> Artefacts:
    """Write, prove, measure and judge one after the other; other formats only where every ONNX file has passed."""
    made: Artefacts = ()
    for artefact in named:
        onnx = [a for a in made if a.format == "onnx"]
        if not verdict_of(onnx[:1] if artefact.format == "onnx" else onnx).passed:
            break
        advance(bar, artefact.path.name)
        steps = FORMATS[artefact.format].steps
        artefact = steps.make(replace(artefact, path=stage / artefact.path), material, made)
        if artefact.verdict == PENDING and artefact.accuracy is None:
            accuracy = score(steps.open_predictor(artefact, material), material.test, artefact.label)
            artefact = replace(artefact, accuracy=accuracy)
        made = (*made, judge(artefact, (*made, artefact)[0], material.request.max_drop_mm))
    return made


def judge(artefact: Artefact, baseline: Artefact, max_drop_mm: float) -> Artefact:
    """Its verdict, from the MPJPE lost against the fp32 file; what failed before was not measured and stays failed."""
    if artefact.accuracy is None or baseline.accuracy is None:
        return artefact
    before_mm, lost_mm = baseline.accuracy.mpjpe_mm, artefact.accuracy.mpjpe_mm - baseline.accuracy.mpjpe_mm
    verdict = artefact.verdict
    if verdict == PENDING and math.isnan(before_mm):
        verdict = Verdict(NOT_RUN, ("no test image shows both hands: nothing could be measured",))
    elif verdict == PENDING and lost_mm <= max_drop_mm:
        verdict = Verdict(PASSED)
    elif verdict == PENDING:
        lost = f"{artefact.label} loses {lost_mm:.3f} mm MPJPE, more than --max-drop-mm {max_drop_mm}"
        verdict = Verdict(ACCURACY_FAILED, (lost,))
    return replace(artefact, lost_mm=lost_mm, verdict=verdict)


def time_all(artefacts: Artefacts, material: Material, bar: Bar) -> Artefacts:
    """Those that are made for machines like this one: latency, and its ratio to the fp32 file's."""
    advance(bar, "latency")
    crop = material.test.crops[0]
    here = [a for a in artefacts if a.format == "onnx" and a.flavour != "trt" and a.accuracy is not None]
    if not here:
        return artefacts
    latency, ratios = time_alternately({a.label: one_frame(a.path, crop) for a in here}, BASELINE)
    return tuple(replace(a, latency=latency[a.label], ratio=ratios.get(a.label)) if a in here else a for a in artefacts)


def write_passports(artefacts: Artefacts, material: Material) -> Artefacts:
    """Into every file that is there, and beside it."""
    done = []
    for artefact in artefacts:
        chosen = FORMATS[artefact.format]
        facts = passport(artefact, material.facts, chosen.untimed)
        done.append(chosen.steps.write_passport(artefact, facts) if artefact.path.exists() else artefact)
    return tuple(done)


def publish(artefacts: Artefacts, stage: Path, output_dir: Path) -> None:
    """Move all but what failed into place, passports first: a model is never there without its own."""
    failed = [a for a in artefacts if not a.verdict.passed and a.path.exists()]
    left = {path for a in failed for path in (a.path, FORMATS[a.format].passport_path(a.path))}
    for path in sorted(stage.iterdir(), key=lambda p: p.suffix != ".json"):
        if path in left:
            continue
        if path.is_dir():
            replace_package(path, output_dir / path.name)
        else:
            path.replace(output_dir / path.name)


def advance(bar: Bar, what: str) -> None:
    """One step is done; the next one is called `what`."""
    bar.set_postfix_str(what, refresh=False)
    bar.update()
    bar.refresh()


PRECISION_HELP = {
    "w8": "weights alone as int8: smaller, not faster",
    "palette6": "6-bit palettes of weights, for --format coreml: smaller, not faster",
}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; but for --list, its names are those of ExportRequest."""
    parser = CommandParser(__doc__)
    parser.add_argument("--list", action="store_true", help="print the variants and stop")
    parser.add_argument("--variant", help=f"one of {', '.join(VARIANTS)}")
    precision = parser.add_mutually_exclusive_group()
    for name in PRECISIONS:
        flags = ["--fp16", "--half"] if name == "fp16" else [f"--{name}"]
        precision.add_argument(
            *flags, dest="precision", action="store_const", const=name, default=BASELINE, help=PRECISION_HELP.get(name)
        )
    add = parser.add_argument
    add("--format", nargs="+", default=["onnx"], dest="formats", metavar="FORMAT", help=f"of {', '.join(FORMATS)}")
    add("--image-input", action="store_true", help="Core ML packages take a picture, not an array")
    add("--checkpoint", type=Path, help="weights (.safetensors); default: the shipped ones")
    add("--random-weights", action="store_true", help="export untrained weights; the passport says so")
    add("--data", default="synthetic", help="'synthetic' or a folder in InterHand2.6M's layout")
    add("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    add("--target", help="a device profile of targets/; default: safe on every CPU")
    add("--prune", type=float, help="first lose this share of the multiply-accumulates, such as 0.3")
    add("--prune-to-ms", type=float, help="instead: to this latency of the fp32 file on this machine")
    add("--importance", help=f"of channels for --prune: {', '.join(IMPORTANCES)}")
    add("--finetune-steps", type=int, help="of recovering from --prune; default: none")
    add("--calib-samples", type=int, help="calibration crops; default 512")
    add("--calib-data", help="own pictures (a folder), an .npz, or a data set; default: that of --data")
    add("--calib-method", help=f"of {', '.join(METHODS)}; default: {METHODS[0]}")
    add("--test-images", type=int, default=1000, help="held-out images accuracy is measured on")
    add("--max-drop-mm", type=float, default=0.3, help="MPJPE the export may lose against fp32")
    add("--keep-float", nargs="+", default=[], metavar="PATTERN", help="further nodes to leave in float")
    add("--plan", type=Path, help="what stays float, as python -m compress.sensitivity found it")
    add("--output-dir", type=Path, default=Path("exports"))
    add("--overwrite", action="store_true", help="replace files of an earlier export")
    return parser.parse_args(arguments)


def request_of(args: argparse.Namespace) -> ExportRequest:
    """The request a command line stands for."""
    if args.variant is None:
        raise UserError("give --variant NAME (--list shows them)")
    given = {name: value for name, value in vars(args).items() if name != "list"}
    given |= {"formats": tuple(dict.fromkeys(args.formats)), "keep_float": tuple(args.keep_float)}
    return ExportRequest(**given)


def main(arguments: list[str] | None = None) -> int:
    """Parse, export, print; 0 only where every format that was asked for `passed`."""
    args = parse_args(arguments)
    if args.list:
        print_variants()
        return 0
    request = request_of(args)
    entry = export(request)
    print_result(entry, request.output_dir, request.hand_model)
    return 0 if all(entry["formats"].get(name, entry["verdict"])["status"] == PASSED for name in request.formats) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that the working folder goes
    run_command(main)
