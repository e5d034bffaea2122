"""The main command: `python compress/export.py --variant er-s --int8`.

Checkpoint (pruned, if asked for) -> ONNX fp32, held against torch -> int8 or fp16 -> other formats; accuracy of each on
held-out images through the runner, latency in turn -> table, report.json and a passport beside each file.
Files are put in place only when all ONNX files have passed; nothing that existed is touched before.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from compress.artefact import ACCURACY_FAILED, BASELINE, NOT_RUN, PASSED, PENDING, Artefact, Verdict
from compress.check.advice import advise
from compress.check.scoring import score
from compress.check.timing import one_frame, time_alternately
from compress.coreml.package import replace_package, size_bytes
from compress.export_report import add_to_report, make_entry, print_result, print_variants, read_report, verdict_of
from compress.formats import FORMATS, PRECISIONS, export_label, plan_artefacts
from compress.material import Material, gather, load_weights, recover_weights
from compress.passport import passport
from compress.request import ExportRequest, add_options
from compress.request_check import check_request
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_error
from runtime.hand.hand_model import load_hand_models
from training.evaluation.scores import mean_pose_mpjpe_mm
from training.network import ERNet, build
from training.network.count import count_gmac

Artefacts = tuple[Artefact, ...]
REPORT = "report.json"
STAGES: list[Path] = []  # working folders of this process


def export(request: ExportRequest) -> dict[str, Any]:
    """Run the whole export and return the report's entry, whose `verdict.status` says how it ended.

    Raises UserError for anything the user can mend, before long work where that can be known.
    """
    target = check_request(request)
    planned = plan_artefacts(request, target)
    hands = load_hand_models(request.hand_model)
    with blaming(request.output_dir):
        weights = load_weights(request, hands)
        paths = [Path(file_stem(weights.network, a.label) + FORMATS[a.format].suffix) for a in planned]
        named = tuple(replace(artefact, path=path) for artefact, path in zip(planned, paths, strict=True))
        with staging(request, named) as stage:
            material = gather(request, target, named, hands, recover_weights(request, weights))
            artefacts = time_all(make_all(named, stage, material), material)
            artefacts = write_passports(artefacts, material)
            mean_pose_mm = mean_pose_mpjpe_mm(material.train, material.test.frames)
            entry = make_entry(artefacts, material.facts, mean_pose_mm, advise(artefacts))
            if entry["verdict"]["status"] == PASSED:
                publish(artefacts, stage, request.output_dir)
                name = file_stem(weights.network, export_label(request.precision, named))
                add_to_report(request.output_dir / REPORT, name, entry)
    return entry


@contextmanager
def blaming(folder: Path) -> Iterator[None]:
    """Turn a system's error into a UserError about its own path; about `folder`, where it is below that or has none."""
    try:
        yield
    except OSError as error:
        path = folder if error.filename is None else Path(str(error.filename))
        below = path.absolute().is_relative_to(folder.absolute())
        raise write_error(folder if below else path, error) from error


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
    folder.mkdir(parents=True, exist_ok=True)
    stage = folder / f".export-{secrets.token_hex(4)}"
    STAGES.append(stage)
    try:
        stage.mkdir()
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def end(number: int, _: object) -> NoReturn:
    """Answer a signal: the working folders go. A SystemExit would be lost where a library's callback runs just then."""
    for stage in STAGES:
        shutil.rmtree(stage, ignore_errors=True)
    os._exit(128 + number)


def make_all(named: Artefacts, stage: Path, material: Material) -> Artefacts:
    """Write, prove, measure and judge one after the other; other formats only where every ONNX file has passed."""
    made: Artefacts = ()
    with tqdm(named, desc=material.request.variant, unit="file") as bar:
        for artefact in bar:
            onnx = [a for a in made if a.format == "onnx"]
            if not verdict_of(onnx[:1] if artefact.format == "onnx" else onnx).passed:
                break
            bar.set_postfix_str(artefact.path.name)
            steps = FORMATS[artefact.format].steps
            artefact = steps.make(replace(artefact, path=stage / artefact.path), material, made)
            if artefact.verdict == PENDING:
                scores = score(steps.open_predictor(artefact, material), material.test, artefact.label)
                artefact = replace(artefact, accuracy=scores.accuracy(material.test.frames.label))
            made = (*made, judge(artefact, (*made, artefact)[0], material.request.max_drop_mm))
    return made


def judge(artefact: Artefact, baseline: Artefact, max_drop_mm: float) -> Artefact:
    """Its verdict, from the MPJPE lost against the fp32 file; what failed before was not measured and stays failed."""
    if artefact.accuracy is None or baseline.accuracy is None:
        return artefact
    lost_mm = artefact.accuracy.mpjpe_mm - baseline.accuracy.mpjpe_mm
    verdict = Verdict(PASSED)
    if math.isnan(baseline.accuracy.mpjpe_mm):
        verdict = Verdict(NOT_RUN, ("no test image shows both hands: nothing could be measured",))
    elif not lost_mm <= max_drop_mm:
        lost = f"{artefact.label} loses {lost_mm:.3f} mm MPJPE, more than --max-drop-mm {max_drop_mm}"
        verdict = Verdict(ACCURACY_FAILED, (lost,))
    return replace(artefact, lost_mm=lost_mm, verdict=verdict)


def time_all(artefacts: Artefacts, material: Material) -> Artefacts:
    """Those that are made for machines like this one: latency, and its ratio to the fp32 file's."""
    crop = material.test.crops[0]
    here = {
        a.path.name: one_frame(a.path, crop)
        for a in artefacts
        if FORMATS[a.format].timed and a.flavour != "trt" and a.accuracy is not None
    }
    latency, ratios = time_alternately(here, artefacts[0].path.name)
    return tuple(replace(a, latency=latency.get(a.path.name), ratio=ratios.get(a.path.name)) for a in artefacts)


def write_passports(artefacts: Artefacts, material: Material) -> Artefacts:
    """Into every file that is there, and beside it; with the file's size and hash, they are the artefact's details."""
    done = []
    for artefact in artefacts:
        if artefact.path.exists():
            row = FORMATS[artefact.format]
            facts = passport(artefact, material.facts, row.untimed)
            details = {"file": artefact.path.name, **artefact.details, **row.steps.embed(artefact, facts)}
            beside, *files = row.paths(artefact.path)
            details["bytes"] = sum(map(size_bytes, files))
            if not beside.exists():  # an engine's is older than its export's
                beside.write_text(json.dumps(facts | details, indent=2) + "\n", encoding="utf-8")
            artefact = replace(artefact, details=details)
        done.append(artefact)
    return tuple(done)


def publish(artefacts: Artefacts, stage: Path, output_dir: Path) -> None:
    """Move all but what failed into place, passports first: a model is never there without its own."""
    failed = [a for a in artefacts if not a.verdict.passed and a.path.exists()]
    left = {path for a in failed for path in FORMATS[a.format].paths(a.path)}
    for path in sorted(stage.iterdir(), key=lambda p: (p.suffix != ".json", p.name)):  # weights before their model
        if path in left:
            continue
        if path.is_dir():
            replace_package(path, output_dir / path.name)
        else:
            path.replace(output_dir / path.name)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; but for --list, its names are those of ExportRequest."""
    parser = CommandParser(__doc__)
    parser.add_argument("--list", action="store_true", help="print the variants and formats, and stop")
    group = parser.add_mutually_exclusive_group()
    for name in PRECISIONS:
        flags = ["--fp16", "--half"] if name == "fp16" else [f"--{name}"]
        help = "weights alone as small integers: smaller, not faster" if name == "w8" else None
        group.add_argument(*flags, dest="precision", action="store_const", const=name, default=BASELINE, help=help)
    add_options(parser, ExportRequest)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Parse, export, print; 0 only where every format that was asked for `passed`."""
    given = vars(parse_args(arguments))
    if given.pop("list"):
        print_variants()
        return 0
    if given["variant"] is None:
        raise UserError("give --variant NAME (--list shows them)")
    request = ExportRequest(**given)
    entry = export(request)
    print_result(entry, request.output_dir, request.hand_model)
    return 0 if all(entry["formats"].get(name, entry["verdict"])["status"] == PASSED for name in request.formats) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    run_command(main)
