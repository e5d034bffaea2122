"""A plot as data, and how it is drawn: by Plotly for the page, by Matplotlib for a paper."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from runtime.files import atomic_path

PRECISION_MARKS = {"fp32": ("circle", "o"), "fp16": ("square", "s"), "int8": ("triangle-up", "^"), "w8": ("star", "*")}
_OTHER_MARK = ("diamond", "D")
# Paul Tol's bright scheme, then his muted one.
_PALETTE = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"),
    *("#332288", "#cc6677", "#999933", "#882255", "#44aa99", "#ddcc77"),
)
_FRONT_COLOUR = "#444444"
_HEIGHT_PX = 440
_BAR_PX = 30  # of a horizontal bar, or a group of them
_MANY_SERIES = 8  # further ones are shown by a click on the legend
_DOTS_PER_INCH = 200


@dataclass(frozen=True)
class Series:
    """One name in the legend. `spread` is the 95 % interval of each y, `texts` stand beside the points."""

    name: str
    x: list[float] | list[str]
    y: list[float]
    kind: Literal["points", "line", "steps", "bars"] = "points"
    texts: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)  # precision of each point
    spread: list[tuple[float, float]] = field(default_factory=list)
    dashed: bool = False


@dataclass(frozen=True)
class Plot:
    """One plot; `key` is its name in the page and the stem of its PNG."""

    key: str
    title: str
    x_label: str
    y_label: str
    series: list[Series]
    note: str = ""
    stacked: bool = False
    log_x: bool = False
    shares: bool = False  # the y axis is in per cent
    horizontal: bool = False  # bars, whose names are long: x still holds them

    @property
    def points(self) -> int:
        """How many there are to see."""
        return sum(len(series.y) for series in self.series)


def to_plotly(plot: Plot) -> dict[str, Any]:
    """`data` and `layout` for Plotly.newPlot."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for index, series in enumerate(plot.series):
        colour = _colour(index, series)
        spread = None
        if series.spread:
            low, high = _errors(series)
            spread = {"type": "data", "symmetric": False, "array": high, "arrayminus": low}
        if series.kind == "bars" and plot.horizontal:
            figure.add_bar(y=series.x, x=series.y, orientation="h", name=series.name, marker={"color": colour})
            continue
        if series.kind == "bars":
            figure.add_bar(x=series.x, y=series.y, name=series.name, marker={"color": colour}, error_y=spread)
            continue
        marks = [PRECISION_MARKS.get(mark, _OTHER_MARK)[0] for mark in series.marks] or "circle"
        figure.add_scatter(
            x=series.x,
            y=series.y,
            name=series.name,
            text=series.texts or None,
            mode={"points": "markers+text" if series.texts else "markers"}.get(series.kind, "lines"),
            textposition="top center",
            textfont={"size": 10},
            marker={"color": colour, "size": 10, "symbol": marks},
            line={
                "color": colour,
                "width": 1.5,
                "dash": "dot" if series.dashed else "solid",
                "shape": "hvh" if series.kind == "steps" else "linear",
            },
            error_y=spread,
            cliponaxis=False,
            visible=True if index < _MANY_SERIES else "legendonly",
        )
    names = {"title": {"text": plot.x_label}, "automargin": True, "type": "log" if plot.log_x else None}
    figures = {
        "title": {"text": plot.y_label.replace("\n", "<br>"), "standoff": 12},
        "automargin": True,
        "tickformat": ".0%" if plot.shares else None,
    }
    rows = max((len(series.x) for series in plot.series), default=0)
    figure.update_layout(
        height=max(_HEIGHT_PX, 120 + _BAR_PX * rows) if plot.horizontal else _HEIGHT_PX,
        margin={"l": 80, "r": 20, "t": 20, "b": 50},
        template="plotly_white",
        barmode="stack" if plot.stacked else "group",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        xaxis=figures if plot.horizontal else names,
        yaxis=names | {"autorange": "reversed"} if plot.horizontal else figures,
    )
    content: dict[str, Any] = json.loads(figure.to_json())
    del content["layout"]["template"]  # the page sets one for all
    return content


def _colour(index: int, series: Series) -> str:
    return _FRONT_COLOUR if series.dashed else _PALETTE[index % len(_PALETTE)]


def _errors(series: Series) -> tuple[list[float], list[float]]:
    """Below and above each y."""
    low = [y - low for y, (low, _) in zip(series.y, series.spread, strict=True)]
    return low, [high - y for y, (_, high) in zip(series.y, series.spread, strict=True)]


def write_png(plot: Plot, path: Path) -> None:
    """The same for print, 200 dots per inch; replaces atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    bars = [series for series in plot.series if series.kind == "bars"]
    rows = len(bars[0].x) if bars else 0
    figure = Figure(figsize=(8, max(5.0, 0.35 * rows) if plot.horizontal else 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    floor = [0.0] * rows
    for index, series in enumerate(plot.series):
        if series.kind == "bars":
            _draw_bars(axes, plot, series, bars.index(series), len(bars), floor, _colour(index, series))
        else:
            _draw_curve(axes, series, _colour(index, series))
    if plot.log_x:
        axes.set_xscale("log")
    if plot.shares:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    labels = (plot.y_label, plot.x_label) if plot.horizontal else (plot.x_label, plot.y_label)
    if plot.horizontal:
        axes.invert_yaxis()
    elif any(isinstance(x, str) for series in plot.series for x in series.x):
        axes.tick_params(axis="x", rotation=30)
    axes.set(title=plot.title, xlabel=labels[0], ylabel=labels[1])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DOTS_PER_INCH, format="png")


def _draw_bars(axes: Any, plot: Plot, series: Series, place: int, count: int, floor: list[float], colour: str) -> None:
    """One of `count` series of bars; where they are stacked, `floor` is how high the last one came."""
    width = 0.8 if plot.stacked else 0.8 / count
    offset = 0.0 if plot.stacked else (place - (count - 1) / 2) * width
    places = [number + offset for number in range(len(series.x))]
    errors = _errors(series) if series.spread else None
    below = list(floor) if plot.stacked else 0.0
    if plot.horizontal:
        axes.barh(places, series.y, width, left=below, label=series.name, color=colour)
        axes.set_yticks(range(len(series.x)), series.x)
    else:
        axes.bar(places, series.y, width, bottom=below, label=series.name, color=colour, yerr=errors)
        axes.set_xticks(range(len(series.x)), series.x)
    floor[:] = [low + y for low, y in zip(floor, series.y, strict=True)]


def _draw_curve(axes: Any, series: Series, colour: str) -> None:
    if series.kind != "points":
        drawn = {"linestyle": ":" if series.dashed else "-", "color": colour, "label": series.name}
        axes.plot(series.x, series.y, drawstyle="steps-mid" if series.kind == "steps" else "default", **drawn)
        return
    for place, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        mark = PRECISION_MARKS.get(series.marks[place], _OTHER_MARK)[1] if series.marks else "o"
        axes.plot([x], [y], mark, color=colour, label=series.name if place == 0 else None)
        if series.texts:
            axes.annotate(series.texts[place], (x, y), (0, 5), textcoords="offset points", ha="center", size=7)
