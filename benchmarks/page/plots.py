"""Which plots a report has. Figures of two data sets or protocols never share one; nor do two devices' times."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from benchmarks.page import drawing
from benchmarks.page.answer import one_per_variant, recommended, whole_files
from benchmarks.page.drawing import BAR_IN, HEIGHT_IN, Plot, log_axis, tip, widened
from benchmarks.page.rows import artifacts, devices, groups, measured
from benchmarks.records.columns import figure, mpjpe_mm, p50_ms, size_mb
from benchmarks.records.record import Group, Record
from runtime.hand.presence import PRESENT_FROM, presence_rows
from training.evaluation.points import CURVE

LEAST_MM = 5.0  # that an axis of errors spans
LEAST_RATIO = 3.0  # that a logarithmic axis spans
# What accuracy is plotted against: name, unit and figure.
Cost = tuple[str, str, Callable[[Record], float | None]]
COSTS: tuple[Cost, ...] = (
    ("latency", "ms (median)", p50_ms),
    ("size", "MB", size_mb),
    ("memory", "MB resident at most", figure("memory_mb.rss_peak")),
)
WAYS = {"boxed": "box given", "found": "found"}
STAGES = {"pre": "crop and scale", "infer": "network", "post": "decode and skin both hands"}


def make_plots(rows: Sequence[Record]) -> list[Plot]:
    """Return all plots that have something to show; curves of one file of each variant."""
    shown = measured(rows)
    best = one_per_variant(shown)
    chosen = [row for row in artifacts(shown) if row.name in best]
    plots: list[Plot | None] = []
    for group in groups(shown):
        members = [row for row in shown if row.group == group]
        for number, device in enumerate(devices(members)):
            here = artifacts(row for row in members if row.device.name == device)
            take = recommended(whole_files(members, device))
            costs = COSTS[:1] if number else COSTS  # size and memory of the first device's files are enough
            plots += [against_cost(cost, group, device, here, take) for cost in costs]
    for device in devices(shown):
        plots.append(stages(device, artifacts(row for row in shown if row.device.name == device)))
    plots += [point_curve(dataset, found) for dataset, found in _point_curves(chosen).items()]
    plots.append(reliability([row.variant or "" for row in artifacts(shown)]))
    return [plot for plot in plots if plot is not None]


def against_cost(cost: Cost, group: Group, device: str, records: Sequence[Record], take: Record | None) -> Plot | None:
    """Plot accuracy over a cost, with the front of what nothing beats in both, and a ring around the file to take."""
    name, unit, figure_of = cost
    found = [(record, figure_of(record), mpjpe_mm(record)) for record in records]
    points = [(record, x, y) for record, x, y in found if x is not None and y is not None]
    if not points:
        return None

    def draw(axes: Axes) -> None:
        front = pareto_front([(x, y) for _, x, y in points])
        axes.plot(*zip(*front, strict=True), color="#444444", linestyle=":", linewidth=1.2, zorder=1)
        for record, x, y in points:
            if figure_of is p50_ms and record.latency_ms:
                span = ((x - record.latency_ms.p50_low,), (record.latency_ms.p50_high - x,))
                axes.errorbar([x], [y], xerr=np.maximum(span, 0), color=drawing.OTHER_COLOUR, linewidth=1, zorder=1)
            (point,) = axes.plot([x], [y], **drawing.point_style(record))
            tip(point, f"{record.name}: {x:.4g} {unit.split()[0]}, {y:.2f} mm")
            if take is not None and record.name == take.name:
                axes.plot([x], [y], **drawing.RING)
        drawing.legend(axes, drawing.point_keys([record for record, _, _ in points]), columns=3)
        axes.set(
            xlabel=f"{name}, {unit}", ylabel=_error_label(group), ylim=widened([y for _, _, y in points], LEAST_MM)
        )
        low, high = widened([float(np.log(x)) for _, x, _ in points], float(np.log(LEAST_RATIO)))
        log_axis(axes, np.exp(low), np.exp(high))

    bars = "; bars: 95 % interval of the median" if figure_of is p50_ms else ""
    note = f"{group[0]}, protocol {group[1]}; {device}{bars}"
    return Plot(_key(name.split()[0], *group, device), f"Accuracy against {name}", draw, note)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return those that no other beats or equals in both coordinates while beating it in one, by the first one."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points)):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def point_curve(dataset: str, known: Sequence[tuple[Record, Sequence[float]]]) -> Plot:
    """Plot the share of joints that lie within a distance of where they are in the picture."""

    def draw(axes: Axes) -> None:
        for record, curve in known:
            drawing.curve(axes, record, CURVE, curve)
        axes.set(xlabel="distance, sides of the hand's box", ylabel=f"share of joints\n{dataset}", ylim=(0, 1))
        drawing.legend(axes)

    note = f"{dataset}; a hand that is said to be absent has no joint"
    return Plot(_key("pck", dataset), "Joints in the picture", draw, note)


def _point_curves(rows: Sequence[Record]) -> dict[str, list[tuple[Record, Sequence[float]]]]:
    """Return the curves over all pictures of each data set, each file once."""
    found: dict[str, list[tuple[Record, Sequence[float]]]] = {}
    for row in rows:
        first = {part.dataset: part for part in reversed(row.points)}  # that of all kinds
        for part in reversed(first.values()):
            if len(part.curve) == len(CURVE):
                found.setdefault(part.dataset, []).append((row, part.curve))
    return found


def stages(device: str, rows: Sequence[Record]) -> Plot | None:
    """Plot what a whole call of the runner spends where."""
    known = [(row.title, row.stages_ms) for row in rows if row.stages_ms is not None]
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
        axes.margins(y=0.02)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", labelsize=8)
        axes.set(xlabel="ms (medians)")
        drawing.legend(axes, columns=1)

    height = max(1.3 + BAR_IN * len(known), HEIGHT_IN)
    return Plot(_key("stages", device), "One call of the runner", draw, device, height_in=height)


def reliability(variants: Sequence[str]) -> Plot | None:
    """Plot how often a hand was there, over the probability that the runner gave it, as tools.fit_presence has it."""
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


def _error_label(group: Group) -> str:
    return f"MPJPE, mm\n{group[0]}, {group[1]}"


def _key(*words: str) -> str:
    """Return a name for the page."""
    return "_".join("".join(c if c.isalnum() else "-" for c in word.lower()).strip("-") for word in words)
