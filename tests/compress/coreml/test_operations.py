"""Every kernel against coremltools' own numpy semantics, or, where it has none, against a formula written out here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from compress.coreml.operations import KERNELS, LISTS
from tests.fixtures.mil_programs import inferred

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 2, shape).astype(np.float32)


X = numbers(2, 3, 4)
PICTURE = numbers(1, 4, 7, 8)
AGAINST_COREMLTOOLS: list[tuple[str, dict[str, Any]]] = [
    ("abs", {"x": X}),
    ("add", {"x": X, "y": X[:1]}),
    ("sub", {"x": X, "y": np.float32(0.3)}),
    ("mul", {"x": X, "y": X[:, :1]}),
    ("cast", {"x": X, "dtype": "fp32"}),
    ("concat", {"values": [X, X[:, :1]], "axis": 1}),
    ("stack", {"values": [X, X + 1], "axis": -1}),
    ("expand_dims", {"x": X[0], "axes": [-1, 0]}),
    ("squeeze", {"x": X[:1, :, :1], "axes": [-1]}),
    ("gelu", {"x": X, "mode": "EXACT"}),
    ("layer_norm", {"x": X, "axes": [-1]}),
    ("layer_norm", {"x": X, "axes": [1, 2]}),
    ("layer_norm", {"x": X, "axes": [2], "gamma": numbers(4), "beta": numbers(4), "epsilon": np.float32(0.1)}),
    ("linear", {"x": X, "weight": numbers(5, 4), "bias": numbers(5)}),
    ("matmul", {"x": X, "y": numbers(2, 4, 5)}),
    ("matmul", {"x": X, "y": numbers(2, 5, 3), "transpose_x": True, "transpose_y": True}),
    ("reduce_mean", {"x": X, "axes": [0, -1], "keep_dims": True}),
    ("relu", {"x": X}),
    ("reshape", {"x": X, "shape": [3, -1]}),
    ("softmax", {"x": X}),
    ("softmax", {"x": 100 * X, "axis": 1}),
    ("slice_by_index", {"x": X, "begin": [0, -2, 1], "end": [2, -1, -1]}),
    ("slice_by_index", {"x": X, "begin": [1, 2, 3], "end": [0, 0, 0], "squeeze_mask": [True, False, False],
                        "end_mask": [False, True, True]}),
    ("split", {"x": X, "split_sizes": [1, 3], "axis": -1}),
    ("transpose", {"x": X, "perm": [-1, 0, 1]}),
]  # fmt: skip


def run(kind: str, parameters: Mapping[str, Any]) -> tuple[NDArray[np.float32], ...]:
    """The kernel on parameters as the evaluator gives them: tensors, numbers, numpy integers, texts."""
    results = KERNELS[kind](**{key: _given(key, value) for key, value in parameters.items()})
    return tuple(result.numpy() for result in (results if isinstance(results, tuple) else (results,)))


def _given(key: str, value: Any) -> Any:
    if key in LISTS:
        return [_given("", item) for item in value]
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return torch.from_numpy(value)
    return value if isinstance(value, str) else np.asarray(value)


@pytest.mark.parametrize(("kind", "parameters"), AGAINST_COREMLTOOLS, ids=lambda v: v if isinstance(v, str) else "")
def test_as_coremltools_computes_it(kind: str, parameters: dict[str, Any]) -> None:
    expected, found = inferred(kind, parameters), run(kind, parameters)
    assert [f.shape for f in found] == [e.shape for e in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)


def test_every_kernel_is_tested() -> None:
    tested = {kind for kind, _ in AGAINST_COREMLTOOLS} | {"conv", "max_pool"}
    assert set(KERNELS) == tested


def windows(x: NDArray[Any], kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]) -> Any:
    """Every place of a window in a padded picture (channels, H, W): i, j, its values (channels, kh, kw)."""
    high, wide = ((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    for i, top in enumerate(range(0, x.shape[1] - high + 1, strides[0])):
        for j, left in enumerate(range(0, x.shape[2] - wide + 1, strides[1])):
            yield i, j, x[:, top : top + high : dilations[0], left : left + wide : dilations[1]]


def test_conv() -> None:
    weight, bias = numbers(8, 2, 3, 2), numbers(8)  # two groups
    padded = np.pad(PICTURE[0], ((0, 0), (1, 2), (3, 0)))  # top, bottom, left, right
    parameters = {"x": PICTURE, "weight": weight, "bias": bias, "strides": (2, 1), "dilations": (1, 2),
                  "groups": 2, "pad_type": "custom", "pad": (1, 2, 3, 0)}  # fmt: skip
    found = run("conv", parameters)[0][0]
    places = list(windows(padded, (3, 2), (2, 1), (1, 2)))
    assert found.shape == (8, places[-1][0] + 1, places[-1][1] + 1)
    for i, j, window in places:
        for channel in range(8):
            group = window[:2] if channel < 4 else window[2:]
            assert found[channel, i, j] == pytest.approx((group * weight[channel]).sum() + bias[channel], abs=1e-4)


def test_max_pool() -> None:
    x = PICTURE - 10  # padding must not count as zeros
    padded = np.pad(x[0], ((0, 0), (0, 1), (1, 0)), constant_values=-np.inf)
    parameters = {"x": x, "kernel_sizes": (3, 2), "strides": (2, 1), "pad_type": "custom", "pad": (0, 1, 1, 0)}
    found = run("max_pool", parameters)[0][0]
    for i, j, window in windows(padded, (3, 2), (2, 1), (1, 1)):
        assert np.array_equal(found[:, i, j], window.max(axis=(1, 2)))


def test_another_padding_is_refused() -> None:
    with pytest.raises(ValueError, match="padding of type same"):
        run("conv", {"x": PICTURE, "weight": numbers(2, 4, 1, 1), "pad_type": "same"})
