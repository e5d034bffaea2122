"""How cost grows: the fitted law, a study of two points, the plot, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tools.scaling import STUDIES, fit_exponent, main, plot
from runtime.errors import UserError


@given(exponent=st.floats(-3, 3), factor=st.floats(1e-3, 1e3))
def test_a_power_law_is_found_again(exponent: float, factor: float) -> None:
    x = [1.0, 2.0, 3.0, 8.0]
    found = fit_exponent({value: factor * value**exponent for value in x})
    assert found == pytest.approx((exponent, factor), rel=1e-6, abs=1e-6)


def test_one_point_has_no_slope() -> None:
    with pytest.raises(ValueError, match="one point"):
        fit_exponent({1.0: 2.0})


def test_the_plot(tmp_path: Path) -> None:
    plot("crop", STUDIES["crop"], {"a": {1.0: 1.0, 2.0: 4.0}, "er-xs": {1.0: 2.0}}, tmp_path / "p.png")
    picture = cv2.imread(str(tmp_path / "p.png"))
    assert picture.shape[0] > 400 and picture.std() > 5
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


@pytest.mark.slow
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("benchmarks.tools.scaling.BATCHES", (1, 4))
    words = ["-o", str(tmp_path), "--study", "batch", "--variants", "er-nano", "--rounds", "1"]
    assert main(words) == 0
    assert "exponent" in capsys.readouterr().out
    (points,) = json.loads((tmp_path / "scaling.json").read_text())["studies"]["batch"]["curves"].values()
    assert list(points) == ["1.0", "4.0"] and points["4.0"] > 1.5 * points["1.0"]
    assert (tmp_path / "scaling_batch.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "crops"], "did you mean crop"),
        (["--variants", "er-x"], "did you mean"),
        (["--rounds", "0"], "--rounds must be"),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        main(["-o", str(tmp_path), *arguments])
    with pytest.raises(UserError, match="there is no folder"):
        main(["-o", str(tmp_path / "none")])
