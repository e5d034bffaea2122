"""How cost grows with work: `python benchmarks/tools/scaling.py -o FOLDER [--study crop batch threads data export]`.

One plot per study, with the exponent of the power law that fits best in the legend (1: in proportion), and all points
in scaling.json. Weights are random: they do not change the time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.candidates.peers import write_module
from benchmarks.devices.device_facts import available_cores
from benchmarks.measure.stats import block_medians
from benchmarks.page.drawing import VARIANT_COLOURS, Plot, write_png
from compress.check.timing import Schedule, time_blocks
from compress.export import export
from compress.request import ExportRequest
from runtime.backends.session import open_session
from runtime.errors import CommandParser, UserError, run_command, unknown_name
from runtime.files import write_text_atomic
from runtime.machine import processor_name
from training.data.synthhands import ensure_synthetic
from training.network import VARIANTS, ERNet, build, get_variant
from training.network.count import count_parameters_m

CROPS_PX = (128, 160, 192, 224, 256, 288, 320)
BATCHES = (1, 2, 4, 8, 16)
NETWORKS = ("er-nano", "er-xs", "er-s")
DATA_IMAGES = 384  # per point: seconds of work, against which starting processes weighs little
EXPORT_IMAGES = 32  # for calibration and for the test: the least an export takes
SCHEDULE = Schedule(rounds=8, block_seconds=1.0, block_runs=100, warmup_seconds=0.3)

Curves = dict[str, dict[float, float]]  # y by x, by name
Measure = Callable[[Sequence[str], Schedule], Curves]


@dataclass(frozen=True)
class Study:
    """One plot."""

    title: str
    x_label: str
    y_label: str
    measure: Measure


def fit_exponent(points: Mapping[float, float]) -> tuple[float, float]:
    """Return exponent and factor of y = factor * x^exponent, by least squares of the logarithms."""
    if len(points) < 2:
        raise ValueError("one point has no slope")
    exponent, offset = np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)
    return float(exponent), float(np.exp(offset))


def network_study(values: Callable[[], Sequence[int]], what: str) -> Measure:
    """Time networks in turn over their crop's side ("crop"), the batch or the threads; tell what they do not take."""

    def measure(networks: Sequence[str], schedule: Schedule) -> Curves:
        runs: dict[str, Callable[[], object]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for name in networks:
                for x in tqdm(values(), desc=f"exporting {name}", unit="file", leave=False):
                    px = x if what == "crop" else get_variant(name).crop_px
                    shape = (x if what == "batch" else 1, 3, px, px)
                    path = Path(folder) / "network.onnx"
                    try:
                        write_module(ERNet(replace(get_variant(name), crop_px=px)).eval(), shape, path)
                    except ValueError as error:
                        print(f"  {name} does not take {x}: {error}")
                        continue
                    runs[f"{name}|{x}"] = _runner(path, shape, x if what == "threads" else 1)
        curves: Curves = {}
        for key, blocks in time_blocks(runs, schedule, label=what).items():
            name, _, x_text = key.partition("|")
            curves.setdefault(name, {})[float(x_text)] = float(np.median(block_medians(blocks)))
        return curves

    return measure


def _runner(path: Path, shape: tuple[int, int, int, int], threads: int) -> Callable[[], object]:
    session = open_session(path, threads)
    feed = {"image": np.random.default_rng(0).random(shape, np.float32)}
    return lambda: session.run(None, feed)


def data_study(networks: Sequence[str], schedule: Schedule) -> Curves:
    """Time the generation of the synthetic set over processes."""
    seconds: dict[float, float] = {}
    for workers in tqdm([0, *range(1, available_cores() + 1)], desc="data generation", unit="point", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            images = DATA_IMAGES if workers else 8  # first a few, so that the renderer is compiled
            ensure_synthetic("test", images, root=Path(folder), workers=workers or 1, progress=False)
            seconds[float(workers)] = time.perf_counter() - start
    del seconds[0]
    return {"SynthHands": seconds}


def export_study(networks: Sequence[str], schedule: Schedule) -> Curves:
    """Time whole int8 exports over the variants' parameters."""
    seconds: dict[float, float] = {}
    for name in tqdm(networks, desc="export", unit="variant", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            request = ExportRequest(
                name,
                "int8",
                random_weights=True,
                calib_samples=EXPORT_IMAGES,
                test_images=EXPORT_IMAGES,
                max_drop_mm=1e6,
                output_dir=Path(folder),
            )
            start = time.perf_counter()
            export(request)
            seconds[count_parameters_m(build(name))] = time.perf_counter() - start
    return {"int8 export": dict(sorted(seconds.items()))}


def _core_counts() -> range:
    return range(1, available_cores() + 1)


STUDIES = {
    "crop": Study("Latency over crop size, one thread", "px", "ms per crop", network_study(lambda: CROPS_PX, "crop")),
    "batch": Study("Latency over batch, one thread", "crops", "ms per batch", network_study(lambda: BATCHES, "batch")),
    "threads": Study("Latency over threads, batch 1", "threads", "ms per crop", network_study(_core_counts, "threads")),
    "data": Study(f"Generating {DATA_IMAGES} synthetic images", "processes", "s", data_study),
    "export": Study(f"Int8 export with {EXPORT_IMAGES} images", "parameters, M", "s", export_study),
}


def plot(name: str, study: Study, curves: Curves, path: Path) -> None:
    """Plot points and the fitted law on logarithmic axes."""
    from matplotlib.axes import Axes  # optional: heavy, for plots alone
    from matplotlib.ticker import NullLocator, ScalarFormatter

    def draw(axes: Axes) -> None:
        for label, points in curves.items():
            (dots,) = axes.plot(list(points), list(points.values()), "o", color=VARIANT_COLOURS.get(label))
            dots.set_label(f"{label}{law_of(points)}")
            if len(points) > 1:
                exponent, factor = fit_exponent(points)
                line = np.geomspace(min(points), max(points), 50)
                axes.plot(line, factor * line**exponent, color=dots.get_color(), linewidth=1)
        axes.set(xlabel=study.x_label, ylabel=study.y_label, xscale="log", yscale="log")
        axes.set_xticks(sorted({x for points in curves.values() for x in points}))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend()

    write_png(Plot(name, study.title, draw), path)


def law_of(points: Mapping[float, float]) -> str:
    """Return the exponent for a legend; nothing for one point."""
    return f", exponent {fit_exponent(points)[0]:.2f}" if len(points) > 1 else ""


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line; run and plot the studies."""
    args = _parse(arguments)
    content = {}
    for name in args.study:
        study = STUDIES[name]
        networks = args.variants or (tuple(VARIANTS) if name == "export" else NETWORKS)
        curves = study.measure(networks, replace(SCHEDULE, rounds=args.rounds))
        plot(name, study, curves, args.output / f"scaling_{name}.png")
        content[name] = {"title": study.title, "x": study.x_label, "y": study.y_label, "curves": curves}
        for label, points in curves.items():
            told = ", ".join(f"{x:g}: {y:.3g}" for x, y in points.items())
            print(f"{name}, {label}{law_of(points)} ({study.x_label}: {study.y_label}; {told})")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # how busy the machine was in the last minute
    facts = {"machine": processor_name(), "rounds": args.rounds, "load": load, "studies": content}
    write_text_atomic(args.output / "scaling.json", json.dumps(facts, indent=2) + "\n")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="for plots and points")
    parser.add_argument("--study", nargs="+", default=list(STUDIES), metavar="NAME", help=", ".join(STUDIES))
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="networks; default: as fits the study")
    parser.add_argument("--rounds", type=int, default=SCHEDULE.rounds, metavar="N", help="blocks of each point")
    args = parser.parse_args(arguments)
    for name in args.study:
        if name not in STUDIES:
            raise unknown_name("study", name, STUDIES)
    for name in args.variants or ():
        get_variant(name)
    if not 1 <= args.rounds <= 1000:
        raise UserError("--rounds must be from 1 to 1000")
    if not args.output.is_dir():
        raise UserError(f"there is no folder {args.output}: create it first")
    return args


if __name__ == "__main__":
    run_command(main)
