"""Programs are run as they say, compressed weights unfold, faults are named, what cannot be run is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.coreml import coremltools, quiet
from compress.coreml.evaluator import FP16_MAX, Evaluator, NumericFault
from runtime.errors import UserError
from tests.compress.coreml.conftest import TABLE, WEIGHT, small_network
from tests.fixtures.mil_programs import make_model, write_program

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)
HALF = np.float16


@pytest.fixture
def small(small_package: Path) -> Evaluator:
    return Evaluator(small_package)


@pytest.fixture(scope="module")
def half_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small program in fp16, as coremltools writes it."""
    return write_program(tmp_path_factory.mktemp("half") / "half.mlpackage", (1, 3, 8, 8), small_network, "fp16")


@pytest.fixture
def small_half(half_package: Path) -> Evaluator:
    return Evaluator(half_package)


def by_hand(x: np.ndarray, rounding: Callable[[Any], Any]) -> dict[str, np.ndarray]:
    """The small network in double precision, each result rounded."""
    weight, table = rounding(WEIGHT), rounding(TABLE)
    x = rounding(rounding(x) - 0.5)
    seen = np.zeros((8, 6, 6))
    for i in range(6):
        for j in range(6):
            seen[:, i, j] = np.tensordot(weight, x[0, :, i : i + 3, j : j + 3], 3)
    bent = np.maximum(rounding(seen), 0)
    mean = rounding(bent.mean(axis=(1, 2)))
    powers = np.exp(bent[0].reshape(-1) - bent[0].max())
    return {"found": rounding(table @ mean)[None], "soft": rounding(powers / powers.sum())[None]}


def test_fp32(small: Evaluator) -> None:
    found, expected = small({"x": X}), by_hand(X, lambda v: np.asarray(v, np.float64))
    assert list(found) == ["found", "soft"]
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5)
    small({"x": X * 3})
    assert np.array_equal(small({"x": X})["found"], found["found"])  # runs do not depend on each other
    half = small({"x": X}, "fp16")  # of a program that is fp32 throughout nothing is rounded
    assert all(np.array_equal(half[name], found[name]) for name in found)


def test_fp16_rounds_every_result(small_half: Evaluator) -> None:
    expected = by_hand(X, lambda v: np.asarray(v, np.float32).astype(HALF).astype(np.float64))
    found = small_half({"x": X}, "fp16")
    for name, value in found.items():
        # A sum in another order may round to the neighbour: one unit in the last place.
        np.testing.assert_allclose(value, expected[name], rtol=2**-10, atol=2e-4)
        assert np.array_equal(value, value.astype(HALF)), name
    assert 0 < np.abs(small_half({"x": X}, "fp32")["found"] - found["found"]).max() < 0.02


# ---- compressed weights

KERNEL = RNG.normal(size=(64, 8, 3, 3)).astype(np.float32)
MATRIX = RNG.normal(size=(64, 64)).astype(np.float32)


def two_weights(mb: Any, x: Any) -> Any:
    x = mb.conv(x=x, weight=KERNEL, name="first")
    return mb.linear(x=mb.reshape(x=x, shape=[36, 64]), weight=MATRIX, name="last")


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_unfolded_as_coremltools_decompresses(target: str, tmp_path: Path) -> None:
    optimize = coremltools().optimize.coreml
    config = optimize.OptimizationConfig(global_config=optimize.OpLinearQuantizerConfig("linear_symmetric"))
    with quiet():
        small = optimize.linear_quantize_weights(make_model((1, 8, 8, 8), two_weights, "fp16", target), config)
        small.save(str(tmp_path / "small.mlpackage"))
        optimize.decompress_weights(small).save(str(tmp_path / "plain.mlpackage"))
    found, expected = (Evaluator(tmp_path / f"{name}.mlpackage").constants for name in ("small", "plain"))
    for original in (KERNEL, MATRIX):
        one, other = (
            next(v.numpy() for v in of.values() if isinstance(v, torch.Tensor) and v.shape == original.shape)
            for of in (found, expected)
        )
        assert np.array_equal(one, other)
        assert np.corrcoef(one.ravel(), original.ravel())[0, 1] > 0.99  # this layer, in this layout


# ---- faults


def test_overflow_in_fp16_is_named(small_half: Evaluator) -> None:
    x = np.full_like(X, 30_000)
    with pytest.raises(NumericFault, match=r"^conv 'seen\w*' overflows in fp16: [\d.e+]+ is more than 65504$"):
        small_half({"x": x}, "fp16")
    assert np.isfinite(small_half({"x": x}, "fp32")["found"]).all()


def test_overflow_begins_where_the_nearest_half_is_infinite(tmp_path: Path) -> None:
    path = write_program(tmp_path / "a.mlpackage", (1, 2), lambda mb, x: mb.mul(x=x, y=np.float32(2)), "fp16")
    evaluator = Evaluator(path)
    (found,) = evaluator({"x": np.array([[32752, 1]], np.float32)}, "fp16").values()
    assert found.tolist() == [[FP16_MAX, 2]]
    with pytest.raises(NumericFault, match="overflows"):
        evaluator({"x": np.array([[1, -32768]], np.float32)}, "fp16")
    with pytest.raises(NumericFault, match=r"cast .* overflows in fp16: 65520 is more"):
        evaluator({"x": np.array([[1, 65520]], np.float32)}, "fp16")


@pytest.mark.parametrize(("value", "says"), [(np.nan, "gives nan in fp32"), (np.inf, "overflows in fp32: it is infin")])
def test_nan_and_infinity_are_named(small: Evaluator, value: float, says: str) -> None:
    bad = X.copy()
    bad[0, 1, 4, 4] = value
    with pytest.raises(NumericFault, match=rf"^sub 'sub\w*' {says}"):
        small({"x": bad})


# ---- what is refused


def test_operations_that_are_not_known(tmp_path: Path) -> None:
    path = write_program(tmp_path / "a.mlpackage", (1, 2), lambda mb, x: mb.erf(x=x, name="strange"))
    with pytest.raises(UserError, match=r"a\.mlpackage: unknown operation 'erf' \('strange'\)"):
        Evaluator(path)
    path = write_program(
        tmp_path / "b.mlpackage", (1, 2), lambda mb, x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION", name="bent")
    )
    with pytest.raises(UserError, match=r"gelu 'bent' cannot be evaluated: .*SIGMOID_APPROXIMATION"):
        Evaluator(path)({"x": np.ones((1, 2), np.float32)})
