"""What is plotted, and as what: a point of the page says what it is."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.page.drawing import to_svg, write_png
from benchmarks.page.plots import make_plots, overlap_bins, pareto_front
from benchmarks.page.rows import Row, read_rows
from compress.onnx.precision_plan import Plan, Sensitivity
from tests.fixtures.made_records import made_report

PLAN = Plan(
    *("er-xs", "0" * 64, "cpu", ("backbone.1",), "made (synthetic)", 160, 0.3, 0.1, 1.8, "a CPU"),
    (Sensitivity("backbone.0", 2, 0.01, 0.2), Sensitivity("backbone.1", 3, 0.2, 0.1)),
)
FILES = ["er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8"]


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return read_rows([made_report(tmp_path)])


def test_all_plots_and_their_tips(rows: list[Row]) -> None:
    plots = make_plots(rows, [PLAN])
    assert len({plot.key for plot in plots}) == len(plots)
    assert all(set(plot.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for plot in plots)
    tips = {plot.title: [unescape(text) for text in re.findall("<title>(.*?)</title>", to_svg(plot))] for plot in plots}
    assert set(tips) == {
        *("Accuracy against size", "Accuracy against latency", "Error of each joint", "Error by occlusion"),
        *("One call of the runner", "Scatter of single runs, threads: 1", "Scatter of single runs, threads: 4"),
        *("int8, block by block: er-xs", "Joints in the picture", "Presence: how sure, how often right"),
    }
    assert [plot.note.partition(";")[0] for plot in plots if plot.title == "Joints in the picture"] == [
        "made (synthetic)",
        "made photographs",
    ]
    assert tips["Joints in the picture"] == FILES
    shown = ("3 MB, 21.40 mm", "10 MB, 21.30 mm", "9 MB, 19.80 mm")
    assert tips["Accuracy against size"] == [f"{name}: {text}" for name, text in zip(FILES, shown, strict=True)]
    assert tips["Error of each joint"] == FILES
    assert re.match(r"er-xs, box given: [\d.]+% false alarms", tips["Presence: how sure, how often right"][0])
    occlusion = tips["Error by occlusion"]
    assert len(occlusion) == 3 * 5 and occlusion[0].startswith("er-xs_224_int8, one hand: ")
    mean, low, high = map(float, re.findall(r"[\d.]+", occlusion[1].partition(": ")[2]))
    assert low <= mean <= high
    assert "er-xs_224_int8, crop and scale: 0.40 ms" in tips["One call of the runner"]
    assert tips["Scatter of single runs, threads: 1"][0].startswith("er-xs_224_int8: median 3.0")
    assert tips["int8, block by block: er-xs"][0] == "backbone.1: +0.200 mm lost, +0.10 ms saved"


def test_few_images_say_nothing_of_occlusion(tmp_path: Path) -> None:
    titles = [plot.title for plot in make_plots(read_rows([made_report(tmp_path, images=8)]))]
    assert "Error of each joint" in titles and "Error by occlusion" not in titles


def test_synthetic_and_real_share_no_axis(rows: list[Row], tmp_path: Path) -> None:
    plots = make_plots([*rows, *read_rows([made_report(tmp_path, "real", "InterHand2.6M")])])
    errors = [svg for svg in map(to_svg, plots) if "MPJPE" in svg]
    assert len(errors) == 8
    assert all(("InterHand2.6M" in svg) != ("made (synthetic)" in svg) for svg in errors)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30))
def test_each_image_is_in_one_bin(images: list[tuple[float, bool]]) -> None:
    overlap = np.array([overlap for overlap, _ in images], np.float32)
    bins = [chosen for _, chosen in overlap_bins(overlap, np.array([pair for _, pair in images], bool))]
    assert (np.sum(bins, axis=0) == 1).all()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30))
def test_pareto_front(points: list[tuple[float, float]]) -> None:
    front = pareto_front(points)
    for x, y in points:
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in front) != beaten


def test_svg_for_a_page_and_png_for_print(rows: list[Row], tmp_path: Path) -> None:
    for plot in make_plots(rows):
        svg = to_svg(plot)
        assert svg.startswith("<svg") and 'viewBox="' in svg and " width=" not in svg.partition(">")[0]
        ids, links = set(re.findall(r' id="([^"]+)"', svg)), set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
        assert links == ids  # none that another plot of the page could have, too
    assert to_svg(plot) == svg  # the same file from the same figures
    write_png(plot, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 5000
