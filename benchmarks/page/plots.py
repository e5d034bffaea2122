"""Which plots a report has. Figures of two data sets or protocols never share one; nor do two devices' times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmarks.measure.stats import mean_interval
from benchmarks.page import drawing
from benchmarks.page.drawing import HEIGHT_IN, Plot, log_axis, tip, widened
from benchmarks.page.rows import Group, Row, artifacts, devices, groups, measured, unpruned
from benchmarks.records.columns import figure, mpjpe_mm, size_mb
from benchmarks.records.record import Record
from compress.onnx.precision_plan import Plan
from runtime.hand.joints import JOINT_NAMES
from runtime.hand.presence import PRESENT_FROM, presence_rows

OVERLAPS = (0.0, 0.1, 0.25, 1.0)  # of the hands' outlines, upper ends of the bins
MIN_IMAGES = 5  # of a bin
CURVE_END = 0.4  # of a point curve, in sides of the hand's box
LEAST_MM = 2.0  # that an axis of errors spans
LEAST_RATIO = 3.0  # that a logarithmic axis spans
BAR_IN = 0.2  # height of a horizontal bar
# What accuracy is plotted against: name, unit and figure.
COSTS: tuple[tuple[str, str, Callable[[Record], float | None]], ...] = (
    ("size", "MB", size_mb),
    ("latency", "ms (median)", figure("latency_ms.p50")),
    ("resident memory at most", "MB", figure("memory_mb.rss_peak")),
    ("energy", "mJ per frame", lambda record: record.energy_mj_per_frame),
)
WithErrors = tuple[Row, NDArray[Any]]  # joint_mm of benchmarks.records.raw_samples
WAYS = {"boxed": "box given", "found": "found"}
STAGES = {"pre": "crop and scale", "infer": "network", "post": "decode and skin both hands"}


def make_plots(rows: Sequence[Row], plans: Sequence[Plan] = ()) -> list[Plot]:
    """Return all plots that have something to show."""
    plots: list[Plot | None] = []
    for group in groups(rows):
        members = [row for row in rows if row.group == group]
        for device in devices(members):
            here = artifacts(row for row in members if row.record.device.name == device)
            plots += [against_cost(*cost, group, device, here) for cost in COSTS]
        if known := _with_errors(unpruned(artifacts(members))):
            plots += [by_joint(group, known), by_overlap(group, known)]
    plots += [point_curve(dataset, found) for dataset, found in _point_curves(rows).items()]
    for device in devices(rows):
        here = [row for row in measured(rows) if row.record.device.name == device]
        plots.append(stages(device, artifacts(here)))
        plots += [spread(device, threads, here) for threads in dict.fromkeys(r.record.runtime.threads for r in here)]
    plots += [blocks(plan) for plan in plans]
    plots.append(reliability([row.record.variant or "" for row in artifacts(rows)]))
    return [plot for plot in plots if plot is not None]


def against_cost(
    name: str, unit: str, cost: Callable[[Record], float | None], group: Group, device: str, rows: Sequence[Row]
) -> Plot | None:
    """Plot accuracy over a cost, with the front of what nothing beats in both."""
    found = [(row.record, cost(row.record), mpjpe_mm(row.record)) for row in rows]
    points = [(record, x, y) for record, x, y in found if x is not None and y is not None]
    if not points:
        return None

    def draw(axes: Axes) -> None:
        front = pareto_front([(x, y) for _, x, y in points])
        axes.plot(*zip(*front, strict=True), color="#444444", linestyle=":", linewidth=1.2, zorder=1)
        for record, x, y in points:
            (point,) = axes.plot([x], [y], markersize=8, markeredgewidth=1.6, **drawing.point_style(record))
            tip(point, f"{record.name}: {x:.4g} {unit.split()[0]}, {y:.2f} mm")
        drawing.legend(axes, drawing.point_keys([record for record, _, _ in points]), columns=4)
        axes.set(
            xlabel=f"{name}, {unit}", ylabel=_error_label(group), ylim=widened([y for _, _, y in points], LEAST_MM)
        )
        low, high = widened([float(np.log(x)) for _, x, _ in points], float(np.log(LEAST_RATIO)))
        log_axis(axes, np.exp(low), np.exp(high))

    note = f"{group[0]}, protocol {group[1]}; {device}"
    return Plot(_key(name.split()[0], *group, device), f"Accuracy against {name}", draw, note)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return those that no other beats or equals in both coordinates while beating it in one, by the first one."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points)):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def by_joint(group: Group, known: Sequence[WithErrors]) -> Plot:
    """Plot the mean error of each joint over both hands."""

    def draw(axes: Axes) -> None:
        means = []
        for row, errors in known:
            counted = np.flatnonzero(np.isfinite(errors).any(axis=(0, 1)))
            mean_mm = np.nanmean(errors[:, :, counted], axis=(0, 1))
            means += mean_mm.tolist()
            names = [JOINT_NAMES[joint].replace("_", " ") for joint in counted]
            style = "-" if row.record.artifact.precision == "fp32" else (0, (4, 2))
            colour = drawing.colour_of(row.record.variant)
            (line,) = axes.plot(names, mean_mm, label=row.record.name, color=colour, linestyle=style)
            tip(line, row.record.name)
        axes.tick_params(axis="x", rotation=60, labelsize=7.5)
        axes.set(ylabel=_error_label(group), ylim=widened(means, LEAST_MM))
        drawing.legend(axes)

    return Plot(_key("joints", *group), "Error of each joint", draw, group[0], height_in=4.2)


def by_overlap(group: Group, known: Sequence[WithErrors]) -> Plot | None:
    """Plot the mean error of images over how far the hands overlap in them; None where too few images say so."""
    binned = [
        (row, errors, [one for one in _bins_of(row, errors) if one[1].sum() >= MIN_IMAGES]) for row, errors in known
    ]
    names = list(dict.fromkeys(name for _, _, bins in binned for name, _ in bins))
    if not names:
        return None

    def draw(axes: Axes) -> None:
        width = 0.8 / len(binned)
        for place, (row, errors, bins) in enumerate(binned):
            colour = drawing.colour_of(row.record.variant)
            face = colour if row.record.artifact.precision == "fp32" else f"{colour}88"
            for number, (name, chosen) in enumerate(bins):
                mean = mean_interval(np.nanmean(errors[chosen], axis=(1, 2)))
                at = names.index(name) + (place - (len(binned) - 1) / 2) * width
                label = row.record.name if number == 0 else None
                (bar,) = axes.bar(at, mean.estimate, width * 0.92, color=face, edgecolor=colour, label=label)
                axes.plot([at, at], [mean.low, mean.high], color="#444444", linewidth=0.8)
                tip(bar, f"{row.record.name}, {name}: {mean.estimate:.1f} mm ({mean.low:.1f} to {mean.high:.1f})")
        axes.set_xticks(range(len(names)), names)
        axes.set(xlabel="overlap of the hands", ylabel=_error_label(group))
        axes.grid(False, axis="x")
        drawing.legend(axes)

    note = f"{group[0]}; overlap of the two hands' outlines over their union; 95 % intervals over images"
    return Plot(_key("overlap", *group), "Error by occlusion", draw, note, height_in=4.2)


def _bins_of(row: Row, errors: NDArray[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return names of the bins and the images in them, of those on which an error was measured."""
    hands = np.isfinite(errors).any(axis=2)
    return [
        (name, chosen & hands.any(axis=1)) for name, chosen in overlap_bins(row.seen("overlap", 1), hands.all(axis=1))
    ]


def overlap_bins(overlap: NDArray[np.floating], pair: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return names and images of the bins: one hand, two apart, then by how far they overlap."""
    found = [("one hand", ~pair), ("two, apart", pair & (overlap <= OVERLAPS[0]))]
    for low, high in pairwise(OVERLAPS):
        name = f"{low:.0%} to {high:.0%}" if high < 1 else f"over {low:.0%}"
        found.append((name, pair & (overlap > low) & (overlap <= high)))
    return found


def point_curve(dataset: str, known: Sequence[tuple[Record, Sequence[float]]]) -> Plot:
    """Plot the share of joints that lie within a distance of where they are in the picture."""

    def draw(axes: Axes) -> None:
        for record, curve in known:
            style = "-" if record.artifact.precision == "fp32" else (0, (4, 2))
            limits = np.linspace(0, CURVE_END, len(curve))
            colour = drawing.colour_of(record.variant)
            (line,) = axes.plot(limits, curve, label=record.name, color=colour, linestyle=style)
            tip(line, record.name)
        axes.set(xlabel="distance, sides of the hand's box", ylabel=f"share of joints\n{dataset}", ylim=(0, 1))
        drawing.legend(axes)

    note = f"{dataset}; a hand that is said to be absent has no joint"
    return Plot(_key("pck", dataset), "Joints in the picture", draw, note, height_in=4.2)


def _point_curves(rows: Sequence[Row]) -> dict[str, list[tuple[Record, Sequence[float]]]]:
    """Return the curves over all pictures of each data set, each file once."""
    found: dict[str, list[tuple[Record, Sequence[float]]]] = {}
    for row in unpruned(artifacts(rows)):
        first = {part.dataset: part for part in reversed(row.record.points)}  # that of all kinds
        for part in reversed(first.values()):
            if len(part.curve) > 1:
                found.setdefault(part.dataset, []).append((row.record, part.curve))
    return found


def stages(device: str, rows: Sequence[Row]) -> Plot | None:
    """Plot what a whole call of the runner spends where."""
    known = [(row.title, row.record.stages_ms) for row in rows if row.record.stages_ms is not None]
    if not known:
        return None

    def draw(axes: Axes) -> None:
        names = [name for name, _ in known]
        left = np.zeros(len(known))
        for (field, what), colour in zip(STAGES.items(), drawing.STAGE_COLOURS, strict=True):
            ms = np.array([getattr(found, field) for _, found in known])
            bars = axes.barh(names, ms, left=left, color=colour)
            for name, value, bar in zip(names, ms, bars, strict=True):
                tip(bar, f"{name}, {what}: {value:.2f} ms")
            bar.set_label(what)
            left += ms
        drawing.horizontal(axes, "ms (medians)")
        drawing.legend(axes)

    height = max(1.1 + BAR_IN * len(known), HEIGHT_IN)
    return Plot(_key("stages", device), "One call of the runner", draw, device, height_in=height)


def spread(device: str, threads: int | None, rows: Sequence[Row]) -> Plot:
    """Plot how the runs of each row scatter: from the shortest to the 99th percentile, and the median."""
    timed = [(row.record, row.record.latency_ms) for row in rows if row.record.runtime.threads == threads]
    known = sorted(((record, ms) for record, ms in timed if ms is not None), key=lambda pair: pair[1].p50)

    def draw(axes: Axes) -> None:
        for place, (record, ms) in enumerate(known):
            style = drawing.point_style(record)
            axes.plot([ms.min, ms.p99], [place, place], color=style["color"], linewidth=1.2, alpha=0.6)
            face = style["color"] if record.kind == "artifact" else "white"
            (point,) = axes.plot([ms.p50], [place], markersize=6, **{**style, "markerfacecolor": face})
            tip(point, f"{record.name}: median {ms.p50:.2f} ms, shortest {ms.min:.2f}, 99 % within {ms.p99:.2f}")
        axes.set_yticks(range(len(known)), [record.name for record, _ in known], fontsize=7.5)
        axes.set_ylim(len(known) - 0.5, -0.5)
        axes.set(xlabel="ms: shortest run, median, 99th percentile")
        log_axis(axes, 0.8 * min(ms.min for _, ms in known), 1.2 * max(ms.p99 for _, ms in known))

    title = "Scatter of single runs" + ("" if threads is None else f", threads: {threads}")
    note = f"{device}; filled: files of this project, in their variant's colour; hollow: peers"
    key = _key("runs", device, str(threads or "-"))
    return Plot(key, title, draw, note, wide=True, height_in=0.8 + 0.17 * len(known))


def blocks(plan: Plan) -> Plot:
    """Plot what each block alone costs in accuracy when it is int8."""
    worst = sorted(plan.sensitivities, key=lambda block: -block.lost_mm)

    def draw(axes: Axes) -> None:
        colour = drawing.colour_of(plan.variant)
        colours = ["#444444" if block.block in plan.keep_float else colour for block in worst]
        bars = axes.barh([block.block for block in worst], [block.lost_mm for block in worst], color=colours)
        for block, bar in zip(worst, bars, strict=True):
            tip(bar, f"{block.block}: {block.lost_mm:+.3f} mm lost, {block.saved_ms:+.2f} ms saved")
        axes.set_xlim(right=max(0.1, axes.get_xlim()[1]))
        drawing.horizontal(axes, f"MPJPE lost, mm: {plan.dataset}")

    kept = ", ".join(plan.keep_float) or "nothing"
    note = f"{plan.variant}, {plan.dataset}, {plan.n_images} images; the plan leaves in float: {kept}"
    title = f"int8, block by block: {plan.variant}"
    return Plot(_key("blocks", plan.variant), title, draw, note, height_in=max(0.8 + BAR_IN * len(worst), HEIGHT_IN))


def reliability(variants: Sequence[str]) -> Plot | None:
    """Plot how often a hand was there, over the probability that the runner gave it, as `tools.presence` wrote it."""
    known = {variant: row for variant, row in presence_rows().items() if variant in variants}
    if not known:
        return None

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=drawing.GREY, linestyle=":", label="as it should be")
        for variant, row in known.items():
            for way, mark in (("boxed", "o"), ("found", "^")):
                said, true, hands = zip(*row[way]["reliability"], strict=True)
                (line,) = axes.plot(said, true, color=drawing.colour_of(variant), marker=mark, markersize=4)
                line.set_label(f"{variant}, {WAYS[way]}")
                shares = f"{row[way]['false_alarms']:.1%} false alarms, {row[way]['misses']:.1%} missed"
                tip(line, f"{variant}, {WAYS[way]}: {shares}, of {sum(hands)} hands")
        axes.set(xlabel="presence, as said", ylabel="share of hands that are there", xlim=(0, 1), ylim=(0, 1))
        drawing.legend(axes)

    data = ", ".join(dict.fromkeys(row["data"] for row in known.values()))
    note = f"degraded pictures of {data}, held out from the fit; a hand counts as present above {PRESENT_FROM:g}"
    return Plot("reliability", "Presence: how sure, how often right", draw, note)


def _with_errors(rows: Sequence[Row]) -> list[WithErrors]:
    found = [(row, row.seen("joint_mm", 3), row.seen("overlap", 1)) for row in rows]
    return [
        (row, errors) for row, errors, overlap in found if np.isfinite(errors).any() and len(overlap) == len(errors)
    ]


def _error_label(group: Group) -> str:
    return f"MPJPE, mm\n{group[0]}, {group[1]}"


def _key(*words: str) -> str:
    """Return a name for the page and for a file."""
    return "_".join("".join(c if c.isalnum() else "-" for c in word.lower()).strip("-") for word in words)
