"""What is plotted, and as what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.page.plot import Plot, Series, to_plotly, write_png
from benchmarks.page.plots import FRONT, make_plots, overlap_bins, pareto_front
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


def by_title(plots: list[Plot], title: str) -> Plot:
    (found,) = [plot for plot in plots if plot.title == title]
    return found


def test_all_plots(rows: list[Row]) -> None:
    plots = make_plots(rows, [PLAN])
    assert [plot.title for plot in plots] == [
        "Accuracy against size",
        "Accuracy against latency",
        "Error of each joint",
        "Error of each finger",
        "Error by occlusion",
        "One call of the runner",
        "Lower bound and measurement",
        "Scatter of single runs, threads: 1",
        "Scatter of single runs, threads: 4",
        "int8, block by block: er-xs",
    ]
    assert len({plot.key for plot in plots}) == len(plots)
    assert all(set(plot.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for plot in plots)
    accuracy = [plot for plot in plots if "MPJPE" in plot.y_label]
    assert len(accuracy) == 6 and all("made (synthetic)" in plot.y_label for plot in accuracy)


def test_accuracy_against_size(rows: list[Row]) -> None:
    plot = by_title(make_plots(rows), "Accuracy against size")
    assert {series.name: list(zip(series.x, series.y, strict=True)) for series in plot.series} == {
        "er-xs": [(3.0, 21.4), (10.0, 21.3)],
        "er-s": [(9.0, 19.8)],
        FRONT: [(3.0, 21.4), (9.0, 19.8)],
    }
    assert plot.series[0].texts == ["int8", "fp32"] == plot.series[0].marks


def test_synthetic_and_real_share_no_axis(rows: list[Row], tmp_path: Path) -> None:
    plots = make_plots([*rows, *read_rows([made_report(tmp_path, "real", "InterHand2.6M")])])
    for plot in plots:
        if "MPJPE" in plot.y_label:
            assert ("InterHand2.6M" in plot.y_label) != ("synthetic" in plot.y_label)
    assert sum(plot.title == "Accuracy against size" for plot in plots) == 2


def test_fingers_and_joints(rows: list[Row]) -> None:
    plots = make_plots(rows)
    joints = by_title(plots, "Error of each joint").series[0]
    assert len(joints.x) == 20 and "middle 1" not in joints.x  # the root has no error
    errors = rows[0].seen("joint_mm")
    assert errors is not None
    assert joints.y[0] == pytest.approx(float(np.nanmean(errors[:, :, 0])))
    fingers = by_title(plots, "Error of each finger").series[0]
    assert fingers.y[4] == pytest.approx(float(np.nanmean(errors[:, :, 17:21])))


def test_occlusion(rows: list[Row]) -> None:
    series = by_title(make_plots(rows), "Error by occlusion").series[0]
    assert series.x == ["one hand", "two, apart", "0% to 10%", "10% to 25%", "over 25%"]
    assert all(low <= y <= high for y, (low, high) in zip(series.y, series.spread, strict=True))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30))
def test_each_image_is_in_one_bin(images: list[tuple[float, bool]]) -> None:
    overlap = np.array([overlap for overlap, _ in images], np.float32)
    pair = np.array([pair for _, pair in images], bool)
    bins = [chosen for _, chosen in overlap_bins(overlap, pair)]
    assert (np.sum(bins, axis=0) == 1).all()


def test_histograms_are_shares(rows: list[Row]) -> None:
    for series in by_title(make_plots(rows), "Scatter of single runs, threads: 1").series:
        assert 0.98 <= sum(series.y) <= 1.0


def test_blocks(rows: list[Row]) -> None:
    plot = by_title(make_plots(rows, [PLAN]), "int8, block by block: er-xs")
    assert plot.series[0].x == ["backbone.1", "backbone.0"] and plot.series[0].y == [0.2, 0.01]
    assert "leaves in float: backbone.1" in plot.note and "synthetic" in plot.note


POINTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30)


@given(POINTS)
def test_pareto_front(points: list[tuple[float, float]]) -> None:
    front = pareto_front(points)
    for x, y in points:
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in front) != beaten


@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
def test_bars_are_drawn(tmp_path: Path, horizontal: bool, stacked: bool) -> None:
    series = [Series(name, ["one", "two"], [1.0, 2.0], "bars", spread=[(0.5, 2.0), (1.0, 3.0)]) for name in "ab"]
    plot = Plot("k", "T", "", "ms\nof it", series, stacked=stacked, horizontal=horizontal)
    figure = to_plotly(plot)
    (first, _) = figure["data"]
    assert list(first["y" if horizontal else "x"]) == ["one", "two"]
    axis = figure["layout"]["xaxis" if horizontal else "yaxis"]
    assert axis["title"]["text"] == "ms<br>of it"
    assert figure["layout"]["barmode"] == ("stack" if stacked else "group")
    write_png(plot, tmp_path / "k.png")
    assert (tmp_path / "k.png").read_bytes().startswith(b"\x89PNG")


def test_points_and_lines_are_drawn(rows: list[Row], tmp_path: Path) -> None:
    for plot in make_plots(rows):
        figure = to_plotly(plot)
        assert len(figure["data"]) == len(plot.series)
        write_png(plot, tmp_path / f"{plot.key}.png")
        assert (tmp_path / f"{plot.key}.png").stat().st_size > 5000
    marks = to_plotly(by_title(make_plots(rows), "Accuracy against size"))["data"][0]["marker"]["symbol"]
    assert list(marks) == ["triangle-up", "circle"]


def test_many_rows_wait_for_a_click() -> None:
    series = [Series(str(number), [1.0, 2.0], [1.0, 2.0], "steps") for number in range(10)]
    visible = [trace["visible"] for trace in to_plotly(Plot("k", "T", "x", "y", series))["data"]]
    assert visible == [True] * 8 + ["legendonly"] * 2
