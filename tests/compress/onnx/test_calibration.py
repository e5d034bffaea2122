"""Ranges: each method on numbers worked by hand, the cache, and what a graph or a picture may be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compress.crops import load_own_crops
from compress.onnx import calibration
from compress.onnx.calibration import METHODS, affine_of, calibrate, graph_sha256
from runtime.errors import UserError
from tests.fixtures.graphs import parse_graph

CROPS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "calibration"


def scaled(path: Path, factor: float) -> Path:
    """image (0..1) -> times `factor` -> Relu."""
    text = "(float[1, 3, 8, 8] image) => (float[1, 3, 8, 8] out) { scaled = Mul (image, factor)  out = Relu (scaled) }"
    onnx.save(parse_graph(text, {"factor": np.float32(factor)}), path)
    return path


def test_minima_and_maxima(tmp_path: Path) -> None:
    ranges = calibrate(scaled(tmp_path / "m.onnx", -2), ("image", "scaled", "out"), CROPS, "minmax")
    low, high = CROPS.min() / 255, CROPS.max() / 255
    expected = {"image": (low, high), "scaled": (-2 * high, -2 * low), "out": (0, 0)}
    assert ranges.keys() == expected.keys()
    assert all(ranges[name][:2] == pytest.approx(expected[name]) for name in expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_stays_within_what_was_seen(tmp_path: Path, method: str) -> None:
    low, high, means = calibrate(scaled(tmp_path / "m.onnx", 3), ("scaled",), CROPS, method)["scaled"]
    assert means == pytest.approx(3 * CROPS.mean(axis=(0, 1, 2)) / 255, abs=1e-5)
    assert -1e-6 <= low < high <= 3 + 1e-6
    assert high > 2  # the values are uniform: nobody may leave a third of them out


@pytest.mark.parametrize(("count", "left_out"), [(500, False), (6000, True)])
def test_outliers_are_left_out_where_all_others_gain_by_it(tmp_path: Path, count: int, left_out: bool) -> None:
    crops = np.full((count, 8, 8, 3), 25, np.uint8)
    crops[0, 0, 0, 0] = 255  # clipped it costs 0.9 ** 2, the others (1 / 255) ** 2 / 12 each where it is not
    assert (calibrate(scaled(tmp_path / "m.onnx", 1), ("scaled",), crops, "mse")["scaled"].high < 0.2) is left_out


def test_zero_is_always_a_value() -> None:
    for low, high in ((0.5, 2.0), (-3.0, -1.0), (-1.0, 3.0), (0.0, 0.0), (1e-12, 1e-12)):
        affine = affine_of(low, high)
        assert 0 <= affine.zero_point <= 255 and affine.scale > 0
        lowest, highest = ((q - affine.zero_point) * affine.scale for q in (0, 255))
        assert highest >= high - affine.scale and lowest <= low + affine.scale


def test_measured_once(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = scaled(tmp_path / "m.onnx", 2)
    first = calibrate(model, ("scaled",), CROPS, "minmax")
    (path,) = own_cache.glob("*.json")
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "values_inside", lambda *_: pytest.fail("measured again"))
        assert calibrate(model, ("scaled",), CROPS, "minmax") == first
        for other in (
            (scaled(tmp_path / "other.onnx", 3), ("scaled",), CROPS, "minmax"),
            (model, ("scaled", "out"), CROPS, "minmax"),
            (model, ("scaled",), CROPS[:5], "minmax"),
            (model, ("scaled",), CROPS, "mse"),
        ):
            with pytest.raises(pytest.fail.Exception):
                calibrate(*other)
    for damage in ("", "{", "[]", '{"tensors": {"scaled": [1]}}'):
        path.write_text(damage)
        assert calibrate(model, ("scaled",), CROPS, "minmax") == first


def test_a_cache_that_cannot_be_written(tmp_path: Path, own_cache: Path) -> None:
    """Then ranges are measured each time."""
    own_cache.parent.touch()
    assert calibrate(scaled(tmp_path / "m.onnx", 2), ("scaled",), CROPS, "minmax")["scaled"].high > 1


def test_the_graph_alone_is_hashed(tmp_path: Path) -> None:
    model = onnx.load(scaled(tmp_path / "m.onnx", 2))
    before = graph_sha256(model)
    model.producer_name = "someone"
    model.metadata_props.add(key="passport", value="{}")
    assert graph_sha256(model) == before
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.float32(2.5), "factor"))
    assert graph_sha256(model) != before


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not finite at scaled"):
        calibrate(scaled(tmp_path / "m.onnx", float("nan")), ("scaled",), CROPS, "minmax")


# ---- pictures from outside


def picture(folder: Path, name: str, level: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), np.full((20, 30, 3), level, np.uint8))


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    picture(tmp_path, "b.png", 90)
    picture(tmp_path, "sub/a.jpg", 90)
    (tmp_path / "notes.txt").touch()
    crops = load_own_crops(tmp_path, 10, 16)
    assert crops.shape == (2, 16, 16, 3) and crops.dtype == np.uint8
    assert abs(int(crops[0, 8, 8, 0]) - 90) < 3 and crops[0, 0, 0].max() == 0  # seen whole: black above and below
    assert len(load_own_crops(tmp_path, 1, 16)) == 1


def test_what_is_no_picture_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """macOS puts a `._NAME` beside every file that it copies to a foreign disk."""
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7" + bytes(4092))
    (tmp_path / "folder.jpg").mkdir()
    picture(tmp_path, "a.jpg", 90)
    picture(tmp_path, "black.png", 0)
    assert len(load_own_crops(tmp_path, 2, 16)) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "._a.jpg, black.png, folder.jpg" in line
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UserError, match="holds no picture"):
        load_own_crops(tmp_path, 2, 16)
