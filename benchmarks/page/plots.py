"""Which plots a report has. Figures of two data sets or protocols never share one; nor do two devices' times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.stats import mean_interval
from benchmarks.page.plot import Plot, Series
from benchmarks.page.rows import Group, Row, artifacts, devices, groups, measured
from benchmarks.records.record import Record
from compress.precision_plan import Plan
from runtime.hand.joints import FINGER_NAMES, JOINT_NAMES

OVERLAPS = (0.0, 0.1, 0.25, 1.0)  # of the hands' outlines, upper ends of the bins
HISTOGRAM_BINS = 60
FRONT = "Pareto front"
_MIN_IMAGES = 5  # of a bin


@dataclass(frozen=True)
class Cost:
    """What accuracy is plotted against."""

    key: str
    label: str
    value: Callable[[Record], float | None]
    log: bool = False  # from the smallest variant to the largest it grows by tens


COSTS = (
    Cost("size", "size, MB", lambda r: None if r.artifact.bytes is None else r.artifact.bytes / 1e6, True),
    Cost("latency", "latency, ms (median)", lambda r: None if r.latency_ms is None else r.latency_ms.p50, True),
    Cost("memory", "resident memory at most, MB", lambda r: None if r.memory_mb is None else r.memory_mb.rss_peak),
    Cost("energy", "energy, mJ per frame", lambda r: r.energy_mj_per_frame),
)


def make_plots(rows: Sequence[Row], plans: Sequence[Plan] = ()) -> list[Plot]:
    """All that have something to show."""
    plots = []
    for group in groups(rows):
        members = [row for row in rows if row.group == group]
        for device in devices(members):
            plots += against_costs(group, device, artifacts(row for row in members if row.record.device.name == device))
        own = artifacts(members)
        plots += [by_joint(group, own), by_finger(group, own), by_overlap(group, own)]
    for device in devices(rows):
        here = [row for row in measured(rows) if row.record.device.name == device]
        plots += [stages(device, here), bounds(device, here)]
        plots += [latencies(device, threads, here) for threads in dict.fromkeys(r.record.runtime.threads for r in here)]
    plots += [blocks(plan) for plan in plans]
    return [plot for plot in plots if plot.points]


def against_costs(group: Group, device: str, rows: Sequence[Row]) -> list[Plot]:
    """Accuracy over each cost, the front of what nothing beats in both drawn."""
    plots = []
    for cost in COSTS:
        found = [(row, cost.value(row.record), _mpjpe(row)) for row in rows]
        known = [(row, float(x), float(y)) for row, x, y in found if x is not None and y is not None]
        if not known:
            continue
        series = []
        for variant in dict.fromkeys(row.record.variant for row, _, _ in known):
            own = [point for point in known if point[0].record.variant == variant]
            series.append(
                Series(
                    variant or "other",
                    [x for _, x, _ in own],
                    [y for _, _, y in own],
                    texts=[_short(row.record) for row, _, _ in own],
                    marks=[row.record.artifact.precision or "" for row, _, _ in own],
                )
            )
        front = pareto_front([(x, y) for _, x, y in known])
        series.append(Series(FRONT, [x for x, _ in front], [y for _, y in front], "line", dashed=True))
        title = f"Accuracy against {cost.label.split(',')[0]}"
        key = _key(cost.key, group, device)
        note = _where(group, device)
        plots.append(Plot(key, title, cost.label, _error_label(group), series, note, log_x=cost.log))
    return plots


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other beats or equals in both coordinates while beating it in one, by the first coordinate."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points)):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def by_joint(group: Group, rows: Sequence[Row]) -> Plot:
    """Mean error of each joint over both hands."""
    series = []
    for row, errors in _with(rows, "joint_mm"):
        means, names = [], []
        for joint, name in enumerate(JOINT_NAMES):
            values = errors[:, :, joint]
            if np.isfinite(values).any():
                means.append(float(np.nanmean(values)))
                names.append(name.replace("_", " "))
        series.append(Series(row.record.name, names, means, "line"))
    return Plot(_key("joints", group), "Error of each joint", "joint", _error_label(group), series, note=group[0])


def by_finger(group: Group, rows: Sequence[Row]) -> Plot:
    """Mean error of each finger's four joints."""
    series = []
    for row, errors in _with(rows, "joint_mm"):
        means = [_mean(errors[:, :, 1 + 4 * finger : 5 + 4 * finger]) for finger in range(len(FINGER_NAMES))]
        series.append(Series(row.record.name, list(FINGER_NAMES), means, "bars"))
    return Plot(_key("fingers", group), "Error of each finger", "finger", _error_label(group), series, note=group[0])


def by_overlap(group: Group, rows: Sequence[Row]) -> Plot:
    """Mean error of images over how far the hands overlap in them."""
    series = []
    for row, errors in _with(rows, "joint_mm"):
        overlap = row.seen("overlap")
        if overlap is None or len(overlap) != len(errors):
            continue
        names, means, spread = [], [], []
        for name, chosen in overlap_bins(overlap, np.isfinite(errors).any(axis=2).all(axis=1)):
            seen = errors[chosen]
            values = seen[np.isfinite(seen).any(axis=(1, 2))]
            if len(values) < _MIN_IMAGES:
                continue
            interval = mean_interval(np.nanmean(values, axis=(1, 2)))
            names.append(name)
            means.append(interval.estimate)
            spread.append((interval.low, interval.high))
        series.append(Series(row.record.name, names, means, "bars", spread=spread))
    note = f"{group[0]}; overlap of the two hands' outlines over their union; 95 % intervals over images"
    return Plot(_key("overlap", group), "Error by occlusion", "overlap", _error_label(group), series, note=note)


def overlap_bins(overlap: NDArray[Any], pair: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Names and images: one hand, two apart, then by how far they overlap."""
    found = [("one hand", ~pair), ("two, apart", pair & (overlap <= OVERLAPS[0]))]
    for low, high in pairwise(OVERLAPS):
        name = f"{low:.0%} to {high:.0%}" if high < 1 else f"over {low:.0%}"
        found.append((name, pair & (overlap > low) & (overlap <= high)))
    return found


def stages(device: str, rows: Sequence[Row]) -> Plot:
    """What a whole call of the runner spends where."""
    timed = [(row, row.record.stages_ms) for row in rows]
    known = [(row.title, parts) for row, parts in timed if parts is not None]
    names = [name for name, _ in known]
    series = [
        Series("crop and scale", names, [parts.pre for _, parts in known], "bars"),
        Series("network", names, [parts.infer for _, parts in known], "bars"),
        Series("decode and skin both hands", names, [parts.post for _, parts in known], "bars"),
    ]
    key = _key("stages", device)
    return Plot(key, "One call of the runner", "", "ms (medians)", series, device, stacked=True, horizontal=True)


def latencies(device: str, threads: int | None, rows: Sequence[Row]) -> Plot:
    """How the runs of each row scatter."""
    series = []
    for row in rows:
        runs = row.timed("runs_ms")
        if row.record.runtime.threads != threads or runs is None or len(runs) < 2:
            continue
        low, high = np.percentile(runs, [0.5, 99.5])
        counts, edges = np.histogram(runs, HISTOGRAM_BINS, (low, max(high, low * 1.01)))
        middles = (edges[1:] + edges[:-1]) / 2
        series.append(Series(row.record.name, middles.tolist(), (counts / len(runs)).tolist(), "steps"))
    title = "Scatter of single runs" + ("" if threads is None else f", threads: {threads}")
    note = f"{device}; all counted runs but half a per cent at either end. A click on the legend shows or hides a row"
    key = _key("runs", device, str(threads or "-"))
    return Plot(key, title, "ms (logarithmic)", "share of runs", series, note, log_x=True, shares=True)


def bounds(device: str, rows: Sequence[Row]) -> Plot:
    """Predicted lower bounds beside what was measured here."""
    known = [
        (row, bound, row.record.latency_ms.p50)
        for row in rows
        for bound in row.record.predictions
        if bound.measured_by_predicted is not None and row.record.latency_ms is not None
    ]
    names = [row.title for row, _, _ in known]
    series = [
        Series("roofline, a lower bound", names, [bound.lower_bound_ms for _, bound, _ in known], "bars"),
        Series("measured", names, [p50 for _, _, p50 in known], "bars"),
    ]
    return Plot(
        _key("bounds", device),
        "Lower bound and measurement",
        "",
        "ms",
        series,
        f"{device}; the bound is computed from the graph and this machine's measured limits: it is no measurement",
        horizontal=True,
    )


def blocks(plan: Plan) -> Plot:
    """What each block alone costs in accuracy when it is int8."""
    worst = sorted(plan.sensitivities, key=lambda block: -block.lost_mm)
    names = [block.block for block in worst]
    kept = ", ".join(plan.keep_float) or "nothing"
    note = f"{plan.variant}, {plan.dataset}, {plan.n_images} images; the plan leaves in float: {kept}"
    series = [Series("alone in int8", names, [block.lost_mm for block in worst], "bars")]
    title = f"int8, block by block: {plan.variant}"
    return Plot(
        _key("blocks", plan.variant), title, "", f"MPJPE lost, mm\n{plan.dataset}", series, note, horizontal=True
    )


def _with(rows: Sequence[Row], what: str) -> list[tuple[Row, NDArray[Any]]]:
    return [(row, array) for row in rows if (array := row.seen(what)) is not None and array.ndim == 3]


def _mean(values: NDArray[Any]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def _mpjpe(row: Row) -> float | None:
    return None if row.record.accuracy is None else row.record.accuracy.mpjpe_mm


def _short(record: Record) -> str:
    """`p30 int8` of `er-xs-p30_224_int8`: the colour says the variant."""
    stem = record.name.removeprefix(record.variant or "").split("_")
    return " ".join(part for part in (stem[0].strip("-"), record.artifact.precision or stem[-1]) if part)


def _error_label(group: Group) -> str:
    return f"MPJPE, mm\n{group[0]}, {group[1]}"


def _where(group: Group, device: str) -> str:
    return f"{group[0]}, protocol {group[1]}; {device}"


def _key(name: str, *parts: str | Group) -> str:
    """A name for the page and for a file."""
    words = [name, *(word for part in parts for word in ([part] if isinstance(part, str) else part))]
    kept = ["".join(c if c.isalnum() else "-" for c in word.lower()).strip("-") for word in words]
    return "_".join(kept)
