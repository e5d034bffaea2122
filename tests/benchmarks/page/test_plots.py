"""What is plotted, and as what: a point of the page says what it is."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.page.drawing import to_svg
from benchmarks.page.plots import make_plots, pareto_front
from benchmarks.page.rows import read_rows
from benchmarks.records.record import Record
from tests.fixtures.made_records import made_report

FILES = ["er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8"]
SHOWN = ["er-xs_224_int8", "er-s_224_int8"]  # of each variant one


@pytest.fixture
def rows(tmp_path: Path) -> list[Record]:
    return read_rows([made_report(tmp_path)])


def test_all_plots_and_their_tips(rows: list[Record]) -> None:
    plots = make_plots(rows)
    assert len({plot.key for plot in plots}) == len(plots)
    assert all(set(plot.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for plot in plots)
    tips = {plot.title: [unescape(text) for text in re.findall("<title>(.*?)</title>", to_svg(plot))] for plot in plots}
    assert set(tips) == {
        *("Accuracy against size", "Accuracy against latency"),
        *("One call of the runner", "Joints in the picture", "Presence: how sure, how often right"),
    }
    assert [plot.note.partition(";")[0] for plot in plots if plot.title == "Joints in the picture"] == [
        "made (synthetic)",
        "made photographs",
    ]
    assert tips["Joints in the picture"] == SHOWN
    shown = ("3 MB, 21.40 mm", "10 MB, 21.30 mm", "9 MB, 19.80 mm")
    assert tips["Accuracy against size"] == [f"{name}: {text}" for name, text in zip(FILES, shown, strict=True)]
    assert re.match(r"er-\w+, box given: [\d.]+% false alarms", tips["Presence: how sure, how often right"][0])
    assert "er-xs_224_int8, crop and scale: 0.40 ms" in tips["One call of the runner"]


def test_synthetic_and_real_share_no_axis(rows: list[Record], tmp_path: Path) -> None:
    plots = make_plots([*rows, *read_rows([made_report(tmp_path, "real", "InterHand2.6M")])])
    errors = [svg for svg in map(to_svg, plots) if "MPJPE" in svg]
    assert len(errors) == 4
    assert all(("InterHand2.6M" in svg) != ("made (synthetic)" in svg) for svg in errors)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30))
def test_pareto_front(points: list[tuple[float, float]]) -> None:
    front = pareto_front(points)
    for x, y in points:
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in front) != beaten


def test_svg_for_a_page(rows: list[Record]) -> None:
    for plot in make_plots(rows):
        svg = to_svg(plot)
        assert svg.startswith("<svg") and 'viewBox="' in svg and " width=" not in svg.partition(">")[0]
        ids, links = set(re.findall(r' id="([^"]+)"', svg)), set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
        assert links == ids  # none that another plot of the page could have, too
    assert to_svg(plot) == svg  # the same file from the same figures
