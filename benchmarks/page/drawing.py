"""How every plot looks, drawn once by Matplotlib: as SVG for the page, where a point says what it is, and as PNG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import UserError
from runtime.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Paul Tol's vibrant scheme, which the colour-blind can tell apart: one colour per variant, in all plots.
VARIANT_COLOURS = {
    **{"er-nano": "#ee7733", "er-xs": "#0077bb", "er-c": "#33bbee", "er-s": "#009988"},
    **{"er-m": "#cc3311", "er-l": "#ee3377", "er": "#555555"},
}
OTHER_COLOUR = "#8a8f98"  # what is of no variant
STAGE_COLOURS = ("#bbccee", "#4477aa", "#ccddaa")
PRECISION_MARKS = {"fp32": "o", "fp16": "s", "int8": "^", "w8": "D"}
OTHER_MARK = "P"
PRECISION_LINES = {"fp32": "-", "int8": (0, (4, 2))}
OTHER_LINE = ":"
WIDTH_IN, WIDE_IN, HEIGHT_IN = 5.2, 6.4, 3.7
DOTS_PER_INCH = 200
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a8",
    "axes.labelcolor": "#1c1f23",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e5e8",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",  # texts stay texts, in the page's own font
}
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_TIP = "tip: "


@dataclass(frozen=True)
class Plot:
    """One plot; `key` is its name in the page and the stem of its PNG."""

    key: str
    title: str
    draw: Callable[[Axes], None]
    note: str = ""
    wide: bool = False  # it takes the whole width of the page
    height_in: float = HEIGHT_IN


def tip(artist: Artist, text: str) -> None:
    """Say what an artist shows when one points at it in the page."""
    artist.set_gid(_TIP + text)


def log_axis(axes: Axes, low: float, high: float) -> None:
    """Make the x axis logarithmic from `low` to `high`, with few ticks, written as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5) if high > 8 * low else (1, 1.2, 1.5, 2, 3, 4, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def widened(values: list[float], least: float) -> tuple[float, float]:
    """Return the ends of an axis that holds the values and spans `least`, so that noise does not look like a cliff."""
    low, high = min(values), max(values)
    margin = max((least - (high - low)) / 2, 0.08 * max(high - low, least))
    return low - margin, high + margin


def drawn(plot: Plot, with_title: bool) -> tuple[Figure, AbstractContextManager[Any]]:
    """Draw a plot; the figure is to be saved within the context that comes with it."""
    try:
        import matplotlib  # optional: the report alone needs it
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("matplotlib is missing: pip install -e '.[report]'") from None
    style: dict[Any, Any] = {**STYLE, "svg.hashsalt": plot.key}  # the same file from the same figures
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDE_IN if plot.wide else WIDTH_IN, plot.height_in), layout="constrained")
        axes = figure.add_subplot()
        plot.draw(axes)
        if with_title:
            figure.suptitle(plot.title, fontsize=11)
    return figure, matplotlib.rc_context(style)


def to_svg(plot: Plot) -> str:
    """Return the plot as an SVG element for a page: it scales, and its artists have tips."""
    figure, style = drawn(plot, with_title=False)
    text = StringIO()
    with style:
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _LINK)
    root = ET.fromstring(text.getvalue())
    for name in ("width", "height"):  # viewBox stays
        del root.attrib[name]
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    root.set("role", "img")
    root.set("aria-label", plot.title)
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


def write_png(plot: Plot, path: Path) -> None:
    """Write the same for print, atomically."""
    figure, style = drawn(plot, with_title=True)
    with style, atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png")
