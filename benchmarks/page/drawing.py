"""How every plot looks, drawn by Matplotlib as SVG, where a point says what it is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.records.record import Record

# Paul Tol's vibrant scheme, which the colour-blind can tell apart: one colour per variant, in all plots.
VARIANT_COLOURS = {
    **{"er-nano": "#ee7733", "er-xs": "#0077bb", "er-c": "#33bbee", "er-s": "#009988"},
    **{"er-m": "#cc3311", "er-l": "#ee3377", "er": "#555555"},
}
OTHER_COLOUR, GREY = "#8a8f98", "#444444"
# Around what is to be taken.
RING: dict[str, Any] = {"color": "#1c1f23", "marker": "o", "markersize": 15, "markerfacecolor": "none", "linestyle": ""}
STAGE_COLOURS = ("#bbccee", "#4477aa", "#ccddaa")
PRECISION_MARKS = {"fp32": "o", "fp16": "s", "int8": "^", "w8": "D"}
OTHER_MARK = "P"
POINT: dict[str, Any] = {"markersize": 8, "markeredgewidth": 1.6, "linestyle": ""}
ONNXRUNTIME = "onnxruntime"
WIDTH_IN, HEIGHT_IN = 4.6, 3.9  # three beside each other on a desk's screen, one on a phone's, at about this size
BAR_IN = 0.2  # height of a horizontal bar
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a8",
    "axes.labelcolor": "#1c1f23",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e5e8",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",  # texts stay texts, in the page's own font
}
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_TIP = "tip: "


@dataclass(frozen=True)
class Plot:
    """One plot; `key` is its name in the page."""

    key: str
    title: str
    draw: Callable[[Axes], None]
    note: str = ""
    height_in: float = HEIGHT_IN


def colour_of(variant: str | None) -> str:
    """Return a variant's colour, or grey for what is of none."""
    return VARIANT_COLOURS.get(variant or "", OTHER_COLOUR)


def point_style(record: Record) -> dict[str, Any]:
    """Return a point's style: colour of the variant, mark of the precision, hollow unless onnxruntime runs it."""
    colour, mark = colour_of(record.variant), PRECISION_MARKS.get(record.artifact.precision or "", OTHER_MARK)
    face = colour if record.runtime.name == ONNXRUNTIME else "white"
    return {"color": colour, "marker": mark, "markerfacecolor": face, **POINT}


def point_keys(records: Sequence[Record]) -> list[Artist]:
    """Return a legend: the variants' colours, the precisions' marks, the engines' filling, the ring and the line."""
    present = {record.variant for record in records}
    shown = {name: colour for name, colour in VARIANT_COLOURS.items() if name in present}
    keys: list[Artist] = [Patch(color=colour, label=name) for name, colour in shown.items()]
    for precision in dict.fromkeys(record.artifact.precision or "other" for record in records):
        keys.append(_key(precision, marker=PRECISION_MARKS.get(precision, OTHER_MARK), **POINT))
    for engine in dict.fromkeys(record.runtime.name for record in records):
        if engine != ONNXRUNTIME:
            keys.append(_key(f"hollow: {engine}", marker="o", markerfacecolor="white", **POINT))
    return [*keys, _key("take this", **(RING | {"markersize": 11})), _key("best for its cost", linestyle=":")]


def _key(label: str, **style: Any) -> Artist:
    return Line2D([], [], label=label, **({"color": GREY} | style))


def legend(axes: Axes, handles: Sequence[Artist] = (), columns: int = 2) -> None:
    """Put the legend above the plot, where it covers nothing."""
    handles = handles or axes.get_legend_handles_labels()[0]
    axes.figure.legend(handles=handles, loc="outside upper left", ncols=columns, columnspacing=1.0, handlelength=1.4)


def curve(axes: Axes, record: Record, x: Any, y: Any) -> None:
    """Draw a file's curve: in the colour of its variant, dashed where it is not fp32."""
    style: Any = "-" if record.artifact.precision == "fp32" else (0, (4, 2))
    (line,) = axes.plot(x, y, label=record.name, color=colour_of(record.variant), linestyle=style)
    tip(line, record.name)


def tip(artist: Artist, text: str) -> None:
    """Say what an artist shows when one points at it in the page."""
    artist.set_gid(_TIP + text)


def log_axis(axes: Axes, low: float, high: float) -> None:
    """Make the x axis logarithmic from `low` to `high`, with few ticks, written as plain numbers."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5) if high > 8 * low else (1, 1.2, 1.5, 2, 3, 4, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def widened(values: Sequence[float], least: float) -> tuple[float, float]:
    """Return the ends of an axis that holds the values and spans `least`, so that noise does not look like a cliff."""
    low, high = min(values), max(values)
    margin = max((least - (high - low)) / 2, 0.08 * max(high - low, least))
    return low - margin, high + margin


def to_svg(plot: Plot) -> str:
    """Return the plot as an SVG element for a page: it scales, and its artists have tips."""
    text = StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": plot.key}):  # the same file from the same figures
        figure = Figure(figsize=(WIDTH_IN, plot.height_in), layout="constrained")
        plot.draw(figure.add_subplot())
        figure.savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator")))
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _LINK)
    root = ET.fromstring(text.getvalue())
    root.attrib |= {"role": "img", "aria-label": plot.title}
    for name in ("width", "height"):  # viewBox stays
        del root.attrib[name]
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    used = set(re.findall(r"#([\w-]+)", text.getvalue()))
    for element in root.iter():
        own = element.get("id", "")
        if own.startswith(_TIP):
            title = ET.Element(f"{{{_SVG}}}title")
            title.text = own.removeprefix(_TIP)
            element.insert(0, title)
        if own not in used:  # several plots share a page
            element.attrib.pop("id", None)
    return ET.tostring(root, encoding="unicode")
