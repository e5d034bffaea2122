"""Ranges: each method on numbers worked by hand, the cache, and what a graph or a picture may be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compress.crops import load_own_crops
from compress.onnx import calibration
from compress.onnx.calibration import METHODS, CalibrationSpec, affine_of, calibrate, graph_sha256
from runtime.errors import UserError

CROPS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "calibration"


def scaled(path: Path, factor: float) -> Path:
    """image (0..1) -> times `factor` -> Relu."""
    nodes = [helper.make_node("Mul", ["image", "factor"], ["scaled"]), helper.make_node("Relu", ["scaled"], ["out"])]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3, 8, 8)) for n in ("image", "out")]
    constant = numpy_helper.from_array(np.float32(factor), "factor")
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [constant])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_minima_and_maxima(tmp_path: Path) -> None:
    ranges = calibrate(scaled(tmp_path / "m.onnx", -2), ("image", "scaled", "out"), CROPS, CalibrationSpec("minmax"))
    low, high = CROPS.min() / 255, CROPS.max() / 255
    expected = {"image": (low, high), "scaled": (-2 * high, -2 * low), "out": (0, 0)}
    assert ranges.keys() == expected.keys()
    assert all(ranges[name] == pytest.approx(expected[name]) for name in expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_stays_within_what_was_seen(tmp_path: Path, method: str) -> None:
    low, high = calibrate(scaled(tmp_path / "m.onnx", 3), ("scaled",), CROPS, CalibrationSpec(method))["scaled"]
    assert -1e-6 <= low < high <= 3 + 1e-6
    assert high > 2  # the values are uniform: nobody may leave a third of them out


def test_a_percentile_leaves_the_outliers_out(tmp_path: Path) -> None:
    crops = np.full((4, 8, 8, 3), 25, np.uint8)
    crops[0, 0, 0, 0] = 255  # 1 of 768 values
    spec = CalibrationSpec("percentile", percentile=99.0)
    assert calibrate(scaled(tmp_path / "m.onnx", 1), ("scaled",), crops, spec)["scaled"][1] < 0.2


def test_mse_cuts_a_tail_that_costs_less_than_it_brings(tmp_path: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 64, (5200, 8, 8, 3), np.uint8)
    crops[0, 0, 0, 0] = 200
    limit = calibrate(scaled(tmp_path / "m.onnx", 1), ("scaled",), crops, CalibrationSpec("mse"))["scaled"][1]
    assert 0.95 * 63 / 255 < limit < 0.6


def test_zero_is_always_a_value() -> None:
    for low, high in ((0.5, 2.0), (-3.0, -1.0), (-1.0, 3.0), (0.0, 0.0), (1e-12, 1e-12)):
        affine = affine_of(low, high)
        assert 0 <= affine.zero_point <= 255 and affine.scale > 0
        assert affine.limits[0] <= 0 <= affine.limits[1]
        assert affine.limits[1] >= high - affine.scale and affine.limits[0] <= low + affine.scale


def test_measured_once(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, spec = scaled(tmp_path / "m.onnx", 2), CalibrationSpec("minmax")
    first = calibrate(model, ("scaled",), CROPS, spec)
    (path,) = own_cache.glob("*.json")
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "values_inside", lambda *_: pytest.fail("measured again"))
        assert calibrate(model, ("scaled",), CROPS, spec) == first
        for other in (
            (scaled(tmp_path / "other.onnx", 3), ("scaled",), CROPS, spec),
            (model, ("scaled", "out"), CROPS, spec),
            (model, ("scaled",), CROPS[:5], spec),
            (model, ("scaled",), CROPS, CalibrationSpec("mse")),
        ):
            with pytest.raises(pytest.fail.Exception):
                calibrate(*other)
    for damage in ("", "{", "[]", '{"ranges": {"scaled": [1]}}'):
        path.write_text(damage)
        assert calibrate(model, ("scaled",), CROPS, spec) == first


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
        calibrate(scaled(tmp_path / "m.onnx", float("nan")), ("scaled",), CROPS, CalibrationSpec("minmax"))


def test_an_unknown_method() -> None:
    with pytest.raises(UserError, match="did you mean minmax"):
        CalibrationSpec("minmx")


# ---- pictures from outside


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "sub/a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"" if name.endswith("txt") else _png(np.full((20, 30, 3), 90, np.uint8), name))
    crops = load_own_crops(tmp_path, 10, 16)
    assert crops.shape == (2, 16, 16, 3) and crops.dtype == np.uint8
    assert abs(int(crops[0, 8, 8, 0]) - 90) < 3 and crops[0, 0, 0].max() == 0  # seen whole: black above and below
    assert len(load_own_crops(tmp_path, 1, 16)) == 1


def _png(image: NDArray[np.uint8], name: str) -> bytes:
    return bytes(cv2.imencode(Path(name).suffix, image)[1])


def test_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", crops=CROPS)
    assert np.array_equal(load_own_crops(tmp_path / "c.npz", 4, 8), CROPS[:4])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no calibration data at"),
        (lambda p: p.mkdir(), "holds no picture"),
        (lambda p: (p.mkdir(), (p / "x.png").write_bytes(b"no picture")), r"x\.png"),
        (lambda p: (p.mkdir(), (p / "x.png").write_bytes(_png(np.zeros((32, 32, 3), np.uint8), "x.png"))), "all black"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "data")  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        load_own_crops(tmp_path / "data", 10, 16)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": CROPS}, "no array 'crops'"),
        ({"crops": CROPS.astype(np.float32)}, "float32, not"),
        ({"crops": CROPS[:, :7]}, r"not \(N, 8, 8, 3\) uint8"),
        ({"crops": CROPS * np.uint8(0)}, "crop 0 is all black"),
        ({"crops": np.array([object()])}, "crops"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, arrays: dict[str, NDArray[np.generic]], message: str) -> None:
    np.savez(tmp_path / "c.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        load_own_crops(tmp_path / "c.npz", 10, 8)


def test_a_broken_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", crops=CROPS)
    content = (tmp_path / "c.npz").read_bytes()
    for size in (0, 20, len(content) // 2, len(content) - 30):
        (tmp_path / "cut.npz").write_bytes(content[:size])
        with pytest.raises(UserError, match=r"cut\.npz"):
            load_own_crops(tmp_path / "cut.npz", 10, 8)
