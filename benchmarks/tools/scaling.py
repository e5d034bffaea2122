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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.candidates.peers import write_module
from benchmarks.devices.device_facts import available_cores
from benchmarks.measure.stats import block_medians, median_interval
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

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Curve:
    """One line of a plot. low, high: 95 % interval of each y where it was repeated, else y itself."""

    name: str
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Study:
    """One plot."""

    name: str
    title: str
    x_label: str
    y_label: str
    curves: list[Curve]
    notes: list[str]


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return exponent and factor of y = factor * x^exponent, by least squares of the logarithms."""
    if len(x) < 2:
        raise ValueError("one point has no slope")
    exponent, offset = np.polyfit(np.log(x), np.log(y), 1)
    return float(exponent), float(np.exp(offset))


def study_crop(networks: Sequence[str], schedule: Schedule) -> Study:
    """Time networks over the crop's side, where they take it."""
    curves, notes = time_networks({name: {px: ((1, 3, px, px), 1) for px in CROPS_PX} for name in networks}, schedule)
    return Study("crop", "Latency over crop size, one thread", "crop, px", "ms per crop", curves, notes)


def study_batch(networks: Sequence[str], schedule: Schedule) -> Study:
    """Time networks over the batch."""
    px = {name: get_variant(name).crop_px for name in networks}
    points = {name: {batch: ((batch, 3, px[name], px[name]), 1) for batch in BATCHES} for name in networks}
    curves, notes = time_networks(points, schedule)
    return Study("batch", "Latency over batch, one thread", "batch, crops", "ms per batch", curves, notes)


def study_threads(networks: Sequence[str], schedule: Schedule) -> Study:
    """Time networks over onnxruntime's threads."""
    px = {name: get_variant(name).crop_px for name in networks}
    counts = range(1, available_cores() + 1)
    points = {name: {count: ((1, 3, px[name], px[name]), count) for count in counts} for name in networks}
    curves, notes = time_networks(points, schedule)
    return Study("threads", "Latency over threads, batch 1", "threads", "ms per crop", curves, notes)


def study_data(networks: Sequence[str], schedule: Schedule) -> Study:
    """Time the generation of the synthetic set over processes."""
    seconds: dict[float, float] = {}
    for workers in tqdm([0, *range(1, available_cores() + 1)], desc="data generation", unit="point", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            images = DATA_IMAGES if workers else 8  # first a few, so that the renderer is compiled
            ensure_synthetic("test", images, root=Path(folder), workers=workers or 1, progress=False)
            seconds[workers] = time.perf_counter() - start
    del seconds[0]
    curve = _once("SynthHands", seconds)
    return Study("data", f"Generating {DATA_IMAGES} synthetic images", "processes", "s", [curve], [])


def study_export(networks: Sequence[str], schedule: Schedule) -> Study:
    """Time whole int8 exports over the variants' parameters."""
    seconds: dict[float, float] = {}
    notes = []
    for name in tqdm(networks, desc="export", unit="variant", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            few = {"calib_samples": EXPORT_IMAGES, "test_images": EXPORT_IMAGES, "max_drop_mm": 1e6}
            request = ExportRequest(name, "int8", random_weights=True, output_dir=Path(folder), **few)  # type: ignore[arg-type]
            start = time.perf_counter()
            export(request)
            millions = count_parameters_m(build(name))
            seconds[millions] = time.perf_counter() - start
            notes.append(f"{name}: {millions:.1f} M, {seconds[millions]:.0f} s")
    title = f"Export over variant size ({EXPORT_IMAGES} images to calibrate, {EXPORT_IMAGES} to test)"
    curve = _once("int8 export", dict(sorted(seconds.items())))
    return Study("export", title, "parameters, M", "s", [curve], notes)


STUDIES: dict[str, Callable[[Sequence[str], Schedule], Study]] = {
    "crop": study_crop,
    "batch": study_batch,
    "threads": study_threads,
    "data": study_data,
    "export": study_export,
}


def time_networks(
    points: Mapping[str, Mapping[int, tuple[Shape, int]]], schedule: Schedule
) -> tuple[list[Curve], list[str]]:
    """Time networks of random weights in turn. points: by network and x the image's shape and the threads.

    What a network does not take becomes a note.
    """
    notes = []
    runs: dict[tuple[str, int], Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, shapes in points.items():
            for x, (shape, threads) in tqdm(shapes.items(), desc=f"exporting {name}", unit="file", leave=False):
                path = Path(folder) / "network.onnx"
                try:
                    write_module(ERNet(replace(get_variant(name), crop_px=shape[2])).eval(), shape, path)
                except ValueError as error:
                    notes.append(f"{name} does not take {x}: {error}")
                    continue
                runs[name, x] = _runner(path, shape, threads)
    blocks = time_blocks({f"{name}|{x}": run for (name, x), run in runs.items()}, schedule, label="scaling")
    curves = []
    for name in points:
        xs = [x for network, x in runs if network == name]
        found = [median_interval(block_medians(blocks[f"{name}|{x}"])) for x in xs]
        y, low, high = ([getattr(interval, part) for interval in found] for part in ("estimate", "low", "high"))
        curves.append(Curve(name, [float(x) for x in xs], y, low, high))
    return curves, notes


def _runner(path: Path, shape: Shape, threads: int) -> Callable[[], object]:
    session = open_session(path, threads)
    feed = {"image": np.random.default_rng(0).random(shape, np.float32)}
    return lambda: session.run(None, feed)


def _once(name: str, points: Mapping[float, float]) -> Curve:
    x, y = [float(value) for value in points], list(points.values())
    return Curve(name, x, y, y, y)


def plot(study: Study, path: Path) -> None:
    """Plot points, their intervals, and the fitted law, on logarithmic axes."""
    from matplotlib.axes import Axes  # optional: heavy, for plots alone
    from matplotlib.ticker import NullLocator, ScalarFormatter

    def draw(axes: Axes) -> None:
        for curve in study.curves:
            spread = np.array([np.subtract(curve.y, curve.low), np.subtract(curve.high, curve.y)])
            style: dict[str, Any] = {"color": VARIANT_COLOURS.get(curve.name), "label": f"{curve.name}{_law(curve)}"}
            points = axes.errorbar(curve.x, curve.y, yerr=spread, fmt="o", capsize=3, **style)
            if len(curve.x) > 1:
                exponent, factor = fit_exponent(curve.x, curve.y)
                line = np.geomspace(min(curve.x), max(curve.x), 50)
                axes.plot(line, factor * line**exponent, color=points[0].get_color(), linewidth=1)
        axes.set(xlabel=study.x_label, ylabel=study.y_label, xscale="log", yscale="log")
        axes.set_xticks(sorted({x for curve in study.curves for x in curve.x}))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend()

    write_png(Plot(study.name, study.title, draw), path)


def _law(curve: Curve) -> str:
    return f", exponent {fit_exponent(curve.x, curve.y)[0]:.2f}" if len(curve.x) > 1 else ""


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line; run and plot the studies."""
    args = _parse(arguments)
    content = {}
    for name in args.study:
        networks = args.variants or (tuple(VARIANTS) if name == "export" else NETWORKS)
        study = STUDIES[name](networks, replace(SCHEDULE, rounds=args.rounds))
        plot(study, args.output / f"scaling_{name}.png")
        content[name] = asdict(study)
        for curve in study.curves:
            points = ", ".join(f"{x:g}: {y:.3g}" for x, y in zip(curve.x, curve.y, strict=True))
            print(f"{study.name}, {curve.name}{_law(curve)} ({study.x_label}: {study.y_label}; {points})")
        for note in study.notes:
            print(f"  {note}")
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
