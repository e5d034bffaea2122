"""How cost grows with work: `python benchmarks/tools/scaling.py -o FOLDER [--study crop batch threads data export]`.

One plot per study, with the exponent of the power law that fits best in the legend (1: in proportion), and all points
in scaling.json. Weights are random: they do not change the time.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.candidates.candidate import PEER, Candidate, noise_picture
from benchmarks.candidates.engines import open_candidate
from benchmarks.candidates.module_export import write_module
from benchmarks.devices.device_facts import available_cores
from benchmarks.measure.stats import block_medians, median_interval
from compress.check.timing import Schedule, time_blocks
from runtime.errors import CommandParser, UserError, run_command, unknown_name
from runtime.files import atomic_path, write_text_atomic
from runtime.machine import processor_name
from training.network import VARIANTS, get_variant

CROPS_PX = (128, 160, 192, 224, 256, 288, 320)
BATCHES = (1, 2, 4, 8, 16)
NETWORKS = ("er-nano", "er-xs", "er-s")
DATA_IMAGES = 384  # per point: seconds of work, against which starting processes weighs little
EXPORT_IMAGES = 32  # for calibration and for the test: the least an export takes
SCHEDULE = Schedule(rounds=8, block_seconds=1.0, block_runs=100, warmup_seconds=0.3)


@dataclass(frozen=True)
class Curve:
    """One line of a plot; `low`, `high`: 95 % interval of each point where it was repeated."""

    name: str
    x: list[float]
    y: list[float]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Study:
    """One plot."""

    name: str
    title: str
    x_label: str
    y_label: str
    curves: list[Curve]
    notes: list[str] = field(default_factory=list)


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Exponent and factor of y = factor * x^exponent, by least squares of the logarithms."""
    if len(x) < 2:
        raise ValueError("one point has no slope")
    exponent, offset = np.polyfit(np.log(x), np.log(y), 1)
    return float(exponent), float(np.exp(offset))


def study_crop(networks: Sequence[str], schedule: Schedule) -> Study:
    """Latency over the crop's side, where the network takes it."""
    sizes = {name: [(px, (1, 3, px, px)) for px in CROPS_PX] for name in networks}
    curves, notes = _time_shapes(sizes, schedule)
    return Study("crop", "Latency over crop size, one thread", "crop, px", "ms per crop", curves, notes)


def study_batch(networks: Sequence[str], schedule: Schedule) -> Study:
    """Latency over the batch."""
    crop = {name: get_variant(name).crop_px for name in networks}
    sizes = {name: [(batch, (batch, 3, crop[name], crop[name])) for batch in BATCHES] for name in networks}
    curves, notes = _time_shapes(sizes, schedule)
    return Study("batch", "Latency over batch, one thread", "batch, crops", "ms per batch", curves, notes)


def study_threads(networks: Sequence[str], schedule: Schedule) -> Study:
    """Latency over onnxruntime's threads."""
    counts = list(range(1, available_cores() + 1))
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Callable[[], object]] = {}
        for name in networks:
            path = Path(folder) / f"{name}.onnx"
            _write(name, (1, 3, get_variant(name).crop_px, get_variant(name).crop_px), path)
            for count in counts:
                runs[f"{name}|{count}"] = _open(path, count)
        curves = _curves(dict.fromkeys(networks, counts), time_blocks(runs, schedule, label="threads"))
    return Study("threads", "Latency over threads, batch 1", "threads", "ms per crop", curves)


def study_data(networks: Sequence[str], schedule: Schedule) -> Study:
    """Time to generate the synthetic set over processes."""
    from training.data.synthhands import ensure_synthetic

    counts = list(range(1, available_cores() + 1))
    with tempfile.TemporaryDirectory() as folder:  # first a few, so that the renderer is compiled
        ensure_synthetic("test", 8, root=Path(folder), workers=1, progress=False)
    seconds = []
    for workers in tqdm(counts, desc="data generation", unit="point", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            ensure_synthetic("test", DATA_IMAGES, root=Path(folder), workers=workers, progress=False)
            seconds.append(time.perf_counter() - start)
    curve = Curve("SynthHands", [float(n) for n in counts], seconds)
    return Study("data", f"Generating {DATA_IMAGES} synthetic images", "processes", "s", [curve])


def study_export(networks: Sequence[str], schedule: Schedule) -> Study:
    """Time of a whole int8 export over the variants' parameters."""
    from compress.export import export
    from compress.request import ExportRequest
    from training.network import build
    from training.network.count import count_parameters_m

    points = []
    for name in tqdm(networks, desc="export", unit="variant", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            request = ExportRequest(
                variant=name,
                precision="int8",
                random_weights=True,
                calib_samples=EXPORT_IMAGES,
                test_images=EXPORT_IMAGES,
                max_drop_mm=1e6,
                output_dir=Path(folder),
            )
            start = time.perf_counter()
            export(request)
            points.append((count_parameters_m(build(name)), time.perf_counter() - start, name))
    points.sort()
    curve = Curve("int8 export", [p[0] for p in points], [p[1] for p in points])
    notes = [f"{name}: {millions:.1f} M, {seconds:.0f} s" for millions, seconds, name in points]
    title = f"Export over variant size ({EXPORT_IMAGES} images to calibrate, {EXPORT_IMAGES} to test)"
    return Study("export", title, "parameters, M", "s", [curve], notes)


STUDIES: dict[str, Callable[[Sequence[str], Schedule], Study]] = {
    "crop": study_crop,
    "batch": study_batch,
    "threads": study_threads,
    "data": study_data,
    "export": study_export,
}


def _time_shapes(
    sizes: dict[str, list[tuple[int, tuple[int, int, int, int]]]], schedule: Schedule
) -> tuple[list[Curve], list[str]]:
    """One thread; what a network does not take becomes a note."""
    notes = []
    taken: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Callable[[], object]] = {}
        for name, shapes in sizes.items():
            for value, shape in tqdm(shapes, desc=f"exporting {name}", unit="file", leave=False):
                path = Path(folder) / f"{name}_{value}.onnx"
                try:
                    _write(name, shape, path)
                except ValueError as error:
                    notes.append(f"{name} does not take {value}: {error}")
                    continue
                taken.setdefault(name, []).append(value)
                runs[f"{name}|{value}"] = _open(path, 1)
        return _curves(taken, time_blocks(runs, schedule, label="scaling")), notes


def _write(name: str, shape: tuple[int, int, int, int], path: Path) -> None:
    from training.network import ERNet

    write_module(ERNet(replace(get_variant(name), crop_px=shape[2])).eval(), shape, path)


def _open(path: Path, threads: int) -> Callable[[], object]:
    return open_candidate(Candidate(path.stem, PEER, "onnxruntime", (str(path),)), threads, noise_picture()).run


def _curves(values: dict[str, list[int]], blocks: dict[str, list[np.ndarray]]) -> list[Curve]:
    curves = []
    for name, xs in values.items():
        points = [median_interval(block_medians(blocks[f"{name}|{x}"])) for x in xs]
        y, low, high = ([getattr(p, part) for p in points] for part in ("estimate", "low", "high"))
        curves.append(Curve(f"{name} fp32", [float(x) for x in xs], y, low, high))
    return curves


def plot(study: Study, path: Path) -> None:
    """Points, their intervals, and the fitted law, on logarithmic axes."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator, ScalarFormatter

    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    ticks: set[float] = set()
    for curve in study.curves:
        ticks |= set(curve.x)
        label = curve.name
        if len(curve.x) > 1:
            exponent, factor = fit_exponent(curve.x, curve.y)
            label = f"{curve.name}, exponent {exponent:.2f}"
        spread = None
        if curve.low:
            spread = [np.subtract(curve.y, curve.low), np.subtract(curve.high, curve.y)]
        points = axes.errorbar(curve.x, curve.y, yerr=spread, fmt="o", capsize=3, label=label)
        if len(curve.x) > 1:
            line = np.geomspace(min(curve.x), max(curve.x), 50)
            axes.plot(line, factor * line**exponent, color=points[0].get_color(), linewidth=1)
    axes.set(title=study.title, xlabel=study.x_label, ylabel=study.y_label, xscale="log", yscale="log")
    axes.set_xticks(sorted(ticks))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with atomic_path(path, suffix=".part.png") as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)


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
            law = f", exponent {fit_exponent(curve.x, curve.y)[0]:.2f}" if len(curve.x) > 1 else ""
            points = ", ".join(f"{x:g}: {y:.3g}" for x, y in zip(curve.x, curve.y, strict=True))
            print(f"{study.name}, {curve.name}{law} ({study.x_label}: {study.y_label}; {points})")
        for note in study.notes:
            print(f"  {note}")
    facts = {"machine": processor_name(), "rounds": args.rounds, "load": _load(), "studies": content}
    write_text_atomic(args.output / "scaling.json", json.dumps(facts, indent=2) + "\n")
    return 0


def _load() -> float | None:
    """How busy the machine was in the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


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
