"""What is plotted, and as what: a point of the page says what it is."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.page.drawing import Plot, to_svg, widened, write_png
from benchmarks.page.plots import make_plots, overlap_bins, pareto_front
from benchmarks.page.rows import Row, read_rows
from compress.precision_plan import Plan, Sensitivity
from tests.fixtures.made_records import made_report

PLAN = Plan(
    *("er-xs", "0" * 64, "cpu", ("backbone.1",), "made (synthetic)", 160, 0.3, 0.1, 1.8, "a CPU"),
    (Sensitivity("backbone.0", 2, 0.01, 0.2), Sensitivity("backbone.1", 3, 0.2, 0.1)),
)


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return read_rows([made_report(tmp_path)])


def svg_of(plots: list[Plot], title: str) -> str:
    (found,) = [plot for plot in plots if plot.title == title]
    return to_svg(found)


def tips(svg: str) -> list[str]:
    return [unescape(text) for text in re.findall("<title>(.*?)</title>", svg)]


def test_all_plots(rows: list[Row]) -> None:
    plots = make_plots(rows, [PLAN])
    assert [plot.title for plot in plots] == [
        "Accuracy against size",
        "Accuracy against latency",
        "Error of each joint",
        "Error by occlusion",
        "One call of the runner",
        "Scatter of single runs, threads: 1",
        "Scatter of single runs, threads: 4",
        "int8, block by block: er-xs",
    ]
    assert len({plot.key for plot in plots}) == len(plots)
    assert all(set(plot.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for plot in plots)


def test_tips_say_what_a_point_is(rows: list[Row]) -> None:
    plots = make_plots(rows, [PLAN])
    assert tips(svg_of(plots, "Accuracy against size")) == [
        "er-xs_224_int8: 3 MB, 21.40 mm",
        "er-xs_224_fp32: 10 MB, 21.30 mm",
        "er-s_224_int8: 9 MB, 19.80 mm",
    ]
    assert tips(svg_of(plots, "Error of each joint")) == ["er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8"]
    occlusion = tips(svg_of(plots, "Error by occlusion"))
    assert len(occlusion) == 3 * 5 and occlusion[0].startswith("er-xs_224_int8, one hand: ")
    low, mean, high = (float(re.findall(r"[\d.]+", occlusion[1].partition(": ")[2])[i]) for i in (1, 0, 2))
    assert low <= mean <= high
    assert "er-xs_224_int8, crop and scale: 0.40 ms" in tips(svg_of(plots, "One call of the runner"))
    assert tips(svg_of(plots, "Scatter of single runs, threads: 1"))[0].startswith("er-xs_224_int8: median 3.0")
    worst = tips(svg_of(plots, "int8, block by block: er-xs"))
    assert worst == ["backbone.1: +0.200 mm lost, +0.10 ms saved", "backbone.0: +0.010 mm lost, +0.20 ms saved"]


def test_synthetic_and_real_share_no_axis(rows: list[Row], tmp_path: Path) -> None:
    plots = make_plots([*rows, *read_rows([made_report(tmp_path, "real", "InterHand2.6M")])])
    errors = [svg for svg in map(to_svg, plots) if "MPJPE" in svg]
    assert len(errors) == 8
    assert all(("InterHand2.6M" in svg) != ("made (synthetic)" in svg) for svg in errors)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30))
def test_each_image_is_in_one_bin(images: list[tuple[float, bool]]) -> None:
    overlap = np.array([overlap for overlap, _ in images], np.float32)
    pair = np.array([pair for _, pair in images], bool)
    bins = [chosen for _, chosen in overlap_bins(overlap, pair)]
    assert (np.sum(bins, axis=0) == 1).all()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30))
def test_pareto_front(points: list[tuple[float, float]]) -> None:
    front = pareto_front(points)
    for x, y in points:
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in front) != beaten


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_noise_is_no_cliff(values: list[float]) -> None:
    low, high = widened(values, 2.0)
    assert low < min(values) and max(values) < high and high - low >= 2.0


def test_svg_for_a_page_and_png_for_print(rows: list[Row], tmp_path: Path) -> None:
    for plot in make_plots(rows):
        svg = to_svg(plot)
        assert svg.startswith("<svg") and 'viewBox="' in svg and " width=" not in svg.partition(">")[0]
        assert to_svg(plot) == svg  # the same file from the same figures
        ids, links = set(re.findall(r' id="([^"]+)"', svg)), set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
        assert links == ids  # none that another plot of the page could have, too
    write_png(plot, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "p.png").stat().st_size > 5000
