"""Which plots a report has. Figures of two data sets or protocols never share one; nor do two devices' times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.stats import mean_interval
from benchmarks.page.drawing import (
    HEIGHT_IN,
    OTHER_COLOUR,
    OTHER_LINE,
    OTHER_MARK,
    PRECISION_LINES,
    PRECISION_MARKS,
    STAGE_COLOURS,
    VARIANT_COLOURS,
    Plot,
    log_axis,
    tip,
    widened,
)
from benchmarks.page.rows import Group, Row, artifacts, devices, groups, is_pruned, measured, unpruned
from benchmarks.records.record import Record
from compress.precision_plan import Plan
from runtime.hand.joints import JOINT_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OVERLAPS = (0.0, 0.1, 0.25, 1.0)  # of the hands' outlines, upper ends of the bins
MIN_IMAGES = 5  # of a bin
LEAST_MM = 2.0  # that an axis of errors spans
LEAST_RATIO = 3.0  # that a logarithmic axis spans
BAR_IN = 0.2  # height of a horizontal bar


@dataclass(frozen=True)
class Cost:
    """What accuracy is plotted against."""

    key: str
    label: str
    value: Callable[[Record], float | None]


COSTS = (
    Cost("size", "size, MB", lambda r: None if r.artifact.bytes is None else r.artifact.bytes / 1e6),
    Cost("latency", "latency, ms (median)", lambda r: None if r.latency_ms is None else r.latency_ms.p50),
    Cost("memory", "resident memory at most, MB", lambda r: None if r.memory_mb is None else r.memory_mb.rss_peak),
    Cost("energy", "energy, mJ per frame", lambda r: r.energy_mj_per_frame),
)


def make_plots(rows: Sequence[Row], plans: Sequence[Plan] = ()) -> list[Plot]:
    """Return all plots that have something to show."""
    plots: list[Plot | None] = []
    for group in groups(rows):
        members = [row for row in rows if row.group == group]
        for device in devices(members):
            here = artifacts(row for row in members if row.record.device.name == device)
            plots += [against_cost(cost, group, device, here) for cost in COSTS]
        shown = unpruned(artifacts(members))
        plots += [by_joint(group, shown), by_overlap(group, shown)]
    for device in devices(rows):
        here = [row for row in measured(rows) if row.record.device.name == device]
        plots.append(stages(device, artifacts(here)))
        plots += [spread(device, threads, here) for threads in dict.fromkeys(r.record.runtime.threads for r in here)]
    plots += [blocks(plan) for plan in plans]
    return [plot for plot in plots if plot is not None]


def against_cost(cost: Cost, group: Group, device: str, rows: Sequence[Row]) -> Plot | None:
    """Plot accuracy over a cost, with the front of what nothing beats in both."""
    found = [(row.record, cost.value(row.record), _mpjpe(row)) for row in rows]
    points = [(record, x, y) for record, x, y in found if x is not None and y is not None]
    if not points:
        return None

    def draw(axes: Axes) -> None:
        from matplotlib.lines import Line2D

        front = pareto_front([(x, y) for _, x, y in points])
        axes.plot(*zip(*front, strict=True), color="#444444", linestyle=":", linewidth=1.2, zorder=1)
        for record, x, y in points:
            colour = _colour(record)
            face = "white" if is_pruned(record) else colour
            mark = PRECISION_MARKS.get(record.artifact.precision or "", OTHER_MARK)
            (point,) = axes.plot([x], [y], mark, color=colour, markerfacecolor=face, markersize=8, markeredgewidth=1.6)
            tip(point, f"{record.name}: {x:.4g} {cost.label.split(', ')[1].split()[0]}, {y:.2f} mm")
        variants = dict.fromkeys(record.variant or "other" for record, _, _ in points)
        precisions = dict.fromkeys(record.artifact.precision or "other" for record, _, _ in points)
        keys = [
            Line2D([], [], color=VARIANT_COLOURS.get(v, OTHER_COLOUR), marker="o", linestyle="", label=v)
            for v in sorted(variants, key=lambda v: list(VARIANT_COLOURS).index(v) if v in VARIANT_COLOURS else 99)
        ]
        keys += [
            Line2D([], [], color="#444444", marker=PRECISION_MARKS.get(p, OTHER_MARK), linestyle="", label=p)
            for p in precisions
        ]
        if any(is_pruned(record) for record, _, _ in points):
            keys.append(Line2D([], [], color="#444444", marker="o", markerfacecolor="white", ls="", label="pruned"))
        keys.append(Line2D([], [], color="#444444", linestyle=":", label="best for its cost"))
        _legend(axes, keys)
        axes.set(xlabel=cost.label, ylabel=_error_label(group), ylim=widened([y for _, _, y in points], LEAST_MM))
        low, high = widened([float(np.log(x)) for _, x, _ in points], float(np.log(LEAST_RATIO)))
        log_axis(axes, np.exp(low), np.exp(high))

    title = f"Accuracy against {cost.label.split(',')[0]}"
    return Plot(_key(cost.key, group, device), title, draw, f"{group[0]}, protocol {group[1]}; {device}")


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return those that no other beats or equals in both coordinates while beating it in one, by the first one."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points)):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def by_joint(group: Group, rows: Sequence[Row]) -> Plot | None:
    """Plot the mean error of each joint over both hands."""
    known = _with_errors(rows)
    if not known:
        return None

    def draw(axes: Axes) -> None:
        means = []
        for row, errors in known:
            counted = np.isfinite(errors).any(axis=(0, 1))
            names = [name.replace("_", " ") for name, kept in zip(JOINT_NAMES, counted, strict=True) if kept]
            mean_mm = np.nanmean(errors[:, :, counted], axis=(0, 1))
            means += mean_mm.tolist()
            (line,) = axes.plot(names, mean_mm, label=row.record.name, **_line(row.record))
            tip(line, row.record.name)
        axes.tick_params(axis="x", rotation=60, labelsize=7.5)
        axes.set(ylabel=_error_label(group), ylim=widened(means, LEAST_MM))
        _legend(axes)

    return Plot(_key("joints", group), "Error of each joint", draw, group[0], height_in=4.2)


def by_overlap(group: Group, rows: Sequence[Row]) -> Plot | None:
    """Plot the mean error of images over how far the hands overlap in them."""
    known = [(row, errors) for row, errors in _with_errors(rows) if len(row.seen("overlap", 1)) == len(errors)]
    if not known:
        return None

    def draw(axes: Axes) -> None:
        width = 0.8 / len(known)
        for place, (row, errors) in enumerate(known):
            seen = np.isfinite(errors).any(axis=(1, 2))
            bins = overlap_bins(row.seen("overlap", 1), np.isfinite(errors).any(axis=2).all(axis=1))
            bins = [(name, chosen & seen) for name, chosen in bins if (chosen & seen).sum() >= MIN_IMAGES]
            for number, (name, chosen) in enumerate(bins):
                mean = mean_interval(np.nanmean(errors[chosen], axis=(1, 2)))
                at = number + (place - (len(known) - 1) / 2) * width
                face = _colour(row.record) + ("" if row.record.artifact.precision == "fp32" else "88")
                bar = axes.bar(at, mean.estimate, width * 0.92, color=face, edgecolor=_colour(row.record))
                axes.plot([at, at], [mean.low, mean.high], color="#444444", linewidth=0.8)
                tip(bar[0], f"{row.record.name}, {name}: {mean.estimate:.1f} mm ({mean.low:.1f} to {mean.high:.1f})")
            bar[0].set_label(row.record.name)
        axes.set_xticks(range(len(bins)), [name for name, _ in bins])
        axes.set(xlabel="overlap of the hands", ylabel=_error_label(group))
        axes.grid(False, axis="x")
        _legend(axes)

    note = f"{group[0]}; overlap of the two hands' outlines over their union; 95 % intervals over images"
    return Plot(_key("overlap", group), "Error by occlusion", draw, note, height_in=4.2)


def overlap_bins(overlap: NDArray[Any], pair: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return names and images of the bins: one hand, two apart, then by how far they overlap."""
    found = [("one hand", ~pair), ("two, apart", pair & (overlap <= OVERLAPS[0]))]
    for low, high in pairwise(OVERLAPS):
        name = f"{low:.0%} to {high:.0%}" if high < 1 else f"over {low:.0%}"
        found.append((name, pair & (overlap > low) & (overlap <= high)))
    return found


def stages(device: str, rows: Sequence[Row]) -> Plot | None:
    """Plot what a whole call of the runner spends where."""
    known = [(row.title, row.record.stages_ms) for row in rows if row.record.stages_ms is not None]
    if not known:
        return None

    def draw(axes: Axes) -> None:
        names = [name for name, _ in known]
        left = np.zeros(len(known))
        parts = {"crop and scale": "pre", "network": "infer", "decode and skin both hands": "post"}
        for (what, field), colour in zip(parts.items(), STAGE_COLOURS, strict=True):
            ms = np.array([getattr(found, field) for _, found in known])
            for name, value, bar in zip(names, ms, axes.barh(names, ms, left=left, color=colour), strict=True):
                tip(bar, f"{name}, {what}: {value:.2f} ms")
            axes.patches[-1].set_label(what)
            left += ms
        _horizontal(axes, "ms (medians)")

    height = 1.1 + BAR_IN * len(known)
    return Plot(_key("stages", device), "One call of the runner", draw, device, height_in=max(height, HEIGHT_IN))


def spread(device: str, threads: int | None, rows: Sequence[Row]) -> Plot | None:
    """Plot how the runs of each row scatter: from the shortest to the 99th percentile, and the median."""
    timed = [(row.record, row.record.latency_ms) for row in rows if row.record.runtime.threads == threads]
    known = sorted(((record, ms) for record, ms in timed if ms is not None), key=lambda pair: pair[1].p50)
    if not known:
        return None

    def draw(axes: Axes) -> None:
        for place, (record, ms) in enumerate(known):
            colour = _colour(record)
            axes.plot([ms.min, ms.p99], [place, place], color=colour, linewidth=1.2, alpha=0.6)
            mark = PRECISION_MARKS.get(record.artifact.precision or "", OTHER_MARK)
            face = colour if record.kind == "artifact" else "white"
            (point,) = axes.plot([ms.p50], [place], mark, color=colour, markerfacecolor=face, markersize=6)
            tip(point, f"{record.name}: median {ms.p50:.2f} ms, shortest {ms.min:.2f}, 99 % within {ms.p99:.2f}")
        axes.set_yticks(range(len(known)), [record.name for record, _ in known], fontsize=7.5)
        axes.set_ylim(len(known) - 0.5, -0.5)
        axes.set(xlabel="ms: shortest run, median, 99th percentile")
        log_axis(axes, 0.8 * min(ms.min for _, ms in known), 1.2 * max(ms.p99 for _, ms in known))

    title = "Scatter of single runs" + ("" if threads is None else f", threads: {threads}")
    note = f"{device}; filled: files of this project, in their variant's colour; hollow: peers"
    height = 0.8 + 0.17 * len(known)
    return Plot(_key("runs", device, str(threads or "-")), title, draw, note, wide=True, height_in=height)


def blocks(plan: Plan) -> Plot | None:
    """Plot what each block alone costs in accuracy when it is int8."""
    worst = sorted(plan.sensitivities, key=lambda block: -block.lost_mm)
    if not worst:
        return None

    def draw(axes: Axes) -> None:
        names = [block.block for block in worst]
        colour = VARIANT_COLOURS.get(plan.variant, OTHER_COLOUR)
        colours = ["#444444" if name in plan.keep_float else colour for name in names]
        bars = axes.barh(names, [block.lost_mm for block in worst], color=colours)
        for block, bar in zip(worst, bars, strict=True):
            tip(bar, f"{block.block}: {block.lost_mm:+.3f} mm lost, {block.saved_ms:+.2f} ms saved")
        axes.set_xlim(right=max(0.1, axes.get_xlim()[1]))
        _horizontal(axes, f"MPJPE lost, mm: {plan.dataset}")

    kept = ", ".join(plan.keep_float) or "nothing"
    note = f"{plan.variant}, {plan.dataset}, {plan.n_images} images; the plan leaves in float: {kept}"
    title = f"int8, block by block: {plan.variant}"
    height = 0.8 + BAR_IN * len(worst)
    return Plot(_key("blocks", plan.variant), title, draw, note, height_in=max(height, HEIGHT_IN))


def _legend(axes: Axes, keys: list[Any] | None = None) -> None:
    """Put the legend above the plot, where it covers nothing."""
    handles = keys or axes.get_legend_handles_labels()[0]
    axes.figure.legend(handles=handles, loc="outside upper left", ncols=4 if keys else 2, columnspacing=1.2)


def _horizontal(axes: Axes, label: str) -> None:
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", labelsize=8)
    axes.set(xlabel=label)
    if axes.get_legend_handles_labels()[0]:
        _legend(axes)


def _with_errors(rows: Sequence[Row]) -> list[tuple[Row, NDArray[Any]]]:
    return [(row, errors) for row in rows if np.isfinite(errors := row.seen("joint_mm", 3)).any()]


def _mpjpe(row: Row) -> float | None:
    return None if row.record.accuracy is None else row.record.accuracy.mpjpe_mm


def _colour(record: Record) -> str:
    return VARIANT_COLOURS.get(record.variant or "", OTHER_COLOUR)


def _line(record: Record) -> dict[str, Any]:
    style = PRECISION_LINES.get(record.artifact.precision or "", OTHER_LINE)
    return {"color": _colour(record), "linestyle": style, "linewidth": 1.5}


def _error_label(group: Group) -> str:
    return f"MPJPE, mm\n{group[0]}, {group[1]}"


def _key(name: str, *parts: str | Group) -> str:
    """Return a name for the page and for a file."""
    words = [name, *(word for part in parts for word in ([part] if isinstance(part, str) else part))]
    kept = ["".join(c if c.isalnum() else "-" for c in word.lower()).strip("-") for word in words]
    return "_".join(kept)
