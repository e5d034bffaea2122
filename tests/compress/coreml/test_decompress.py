"""Compressed weights unfold to what coremltools unfolds them to, in every layout of iOS16 and iOS18."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compress.coreml.decompress import DECOMPRESS, affine_dequantize, blockwise_shift_scale, lut_to_dense
from compress.coreml.library import coremltools, quiet
from compress.coreml.package import read_package
from compress.coreml.program import Program, read_program
from runtime.errors import UserError
from tests.fixtures.mil_programs import make_model

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(16, 8, 3, 3)).astype(np.float32)
MATRIX = RNG.normal(size=(32, 64)).astype(np.float32)


def two_weights(mb: Any, x: Any) -> Any:
    x = mb.conv(x=x, weight=KERNEL, name="first")
    return mb.linear(x=mb.reshape(x=x, shape=[9, 64]), weight=MATRIX, name="last")


def compressed(tmp_path: Path, target: str, precision: str, how: str, **config: Any) -> tuple[Program, Program]:
    """The program with compressed weights, and coremltools' own decompression of it."""
    optimize = coremltools().optimize.coreml
    with quiet():
        model = make_model({"x": (1, 8, 8, 8)}, two_weights, precision, target)
        kinds = {
            "linear": (optimize.OpLinearQuantizerConfig, optimize.linear_quantize_weights),
            "palette": (optimize.OpPalettizerConfig, optimize.palettize_weights),
        }
        make, apply = kinds[how]
        settings = optimize.OptimizationConfig(global_config=make(weight_threshold=16, **config))
        small = apply(model, settings)
        small.save(str(tmp_path / "small.mlpackage"))
        optimize.decompress_weights(small).save(str(tmp_path / "plain.mlpackage"))
    return (
        read_program(read_package(tmp_path / "small.mlpackage")),
        read_program(read_package(tmp_path / "plain.mlpackage")),
    )


def weights_of(program: Program) -> list[NDArray[Any]]:
    return [
        program.constants[op.inputs["weight"][0]]  # type: ignore[misc]
        for op in program.operations
        if "weight" in op.inputs
    ]


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize(
    ("target", "how", "config", "kind"),
    [
        ("iOS16", "linear", {"mode": "linear_symmetric"}, "constexpr_affine_dequantize"),
        ("iOS16", "linear", {"mode": "linear"}, "constexpr_affine_dequantize"),
        ("iOS16", "linear", {"mode": "linear", "dtype": "uint8"}, "constexpr_affine_dequantize"),
        ("iOS16", "linear", {"mode": "linear_symmetric", "granularity": "per_tensor"}, "constexpr_affine_dequantize"),
        ("iOS16", "palette", {"mode": "uniform", "nbits": 6}, "constexpr_lut_to_dense"),
        ("iOS16", "palette", {"mode": "uniform", "nbits": 1}, "constexpr_lut_to_dense"),
        ("iOS16", "palette", {"mode": "uniform", "nbits": 8}, "constexpr_lut_to_dense"),
        ("iOS18", "linear", {"mode": "linear_symmetric", "dtype": "int8"}, "constexpr_blockwise_shift_scale"),
        (
            "iOS18",
            "linear",
            {"mode": "linear", "dtype": "uint8", "granularity": "per_block", "block_size": 4},
            "constexpr_blockwise_shift_scale",
        ),
        ("iOS18", "palette", {"mode": "uniform", "nbits": 4}, "constexpr_lut_to_dense"),
        (
            "iOS18",
            "palette",
            {"mode": "uniform", "nbits": 6, "granularity": "per_grouped_channel", "group_size": 8},
            "constexpr_lut_to_dense",
        ),
    ],
)
def test_as_coremltools_unfolds_it(
    target: str, how: str, config: dict[str, Any], kind: str, precision: str, tmp_path: Path
) -> None:
    small, plain = compressed(tmp_path, target, precision, how, **config)
    assert set(small.compressed.values()) == {kind} and len(small.compressed) == 2
    assert plain.compressed == {}
    for found, expected in zip(weights_of(small), weights_of(plain), strict=True):
        assert found.dtype == expected.dtype == {"fp16": np.float16, "fp32": np.float32}[precision]
        # coremltools multiplies in the scale's type; here the product is rounded once.
        unit = 2.0**-10 if precision == "fp16" else 2.0**-22
        np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=unit, atol=1e-7)
    for found, original in zip(weights_of(small), (KERNEL, MATRIX), strict=True):
        assert np.corrcoef(found.ravel(), original.ravel())[0, 1] > 0.7  # this layer, in this layout; 1 bit says little


def test_what_does_not_unfold_is_refused(tmp_path: Path) -> None:
    vectors = {"mode": "unique", "cluster_dim": 2, "nbits": None}
    halves = np.repeat(np.arange(4, dtype=np.float32), 8).reshape(4, 8)

    def build(mb: Any, x: Any) -> Any:
        return mb.linear(x=x, weight=halves)

    optimize = coremltools().optimize.coreml
    with quiet():
        model = make_model({"x": (1, 8)}, build, "fp32", "iOS18")
        config = optimize.OptimizationConfig(optimize.OpPalettizerConfig(weight_threshold=1, **vectors))
        optimize.palettize_weights(model, config).save(str(tmp_path / "vectors.mlpackage"))
    with pytest.raises(UserError, match=r"constexpr_lut_to_dense\) cannot be unfolded \(palettes of vectors"):
        read_program(read_package(tmp_path / "vectors.mlpackage"))


def test_affine_by_hand() -> None:
    data = np.array([[-2, 4], [6, 127]], np.int8)
    scale, zero = np.array([0.5, 2], np.float16), np.array([1, -3], np.int8)
    per_row = affine_dequantize({"quantized_data": data, "scale": scale, "zero_point": zero, "axis": np.int32(0)})
    assert per_row.dtype == np.float16 and per_row.tolist() == [[-1.5, 1.5], [18, 260]]
    per_column = affine_dequantize({"quantized_data": data, "scale": scale, "zero_point": zero, "axis": np.int32(1)})
    assert per_column.tolist() == [[-1.5, 14], [2.5, 260]]
    one = {"quantized_data": data, "scale": np.float32(3), "zero_point": np.int8(0), "axis": np.int32(0)}
    assert affine_dequantize(one).tolist() == [[-6, 12], [18, 381]]


def test_blocks_by_hand() -> None:
    data = np.arange(8, dtype=np.int8).reshape(2, 4)
    scale = np.array([[1, 10], [100, 1000]], np.float32)
    assert blockwise_shift_scale({"data": data, "scale": scale}).tolist() == [[0, 1, 20, 30], [400, 500, 6000, 7000]]
    offset = np.array([[1, 2], [3, 4]], np.int8)
    shifted = blockwise_shift_scale({"data": data, "scale": scale, "offset": offset})
    assert shifted.tolist() == [[-1, 0, 0, 10], [100, 200, 2000, 3000]]


def test_palettes_by_hand() -> None:
    lut = np.array([0.5, -1, 7, 9], np.float16)
    packed = {"lut": lut, "indices": np.array([0b11100100, 0b01], np.uint8), "shape": np.array([1, 5], np.uint32)}
    assert lut_to_dense(packed).tolist() == [[0.5, -1, 7, 9, -1]]
    blocks = np.array([[[[1], [2]]], [[[3], [4]]]], np.float32)  # one palette of two entries per row
    rows = lut_to_dense({"lut": blocks, "indices": np.array([[0, 1], [1, 0]], np.uint8)})
    assert rows.tolist() == [[1, 2], [4, 3]]


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("constexpr_affine_dequantize", {"scale": np.ones(3, np.float16)}),
        ("constexpr_affine_dequantize", {"scale": np.ones(1 << 20, np.float16)}),
        ("constexpr_affine_dequantize", {"axis": np.int32(5)}),
        ("constexpr_blockwise_shift_scale", {"scale": np.ones((3, 1), np.float32)}),
        ("constexpr_blockwise_shift_scale", {"scale": np.ones((0, 1), np.float32)}),
        ("constexpr_blockwise_shift_scale", {"scale": np.ones((4, 4), np.float32)}),
        ("constexpr_blockwise_shift_scale", {"scale": np.ones(2, np.float32)}),
    ],
)
def test_scales_that_do_not_fit(kind: str, inputs: dict[str, Any]) -> None:
    data = np.zeros((2, 2), np.int8)
    given = {"quantized_data": data, "data": data, "zero_point": np.int8(0), "axis": np.int32(0)}
    given |= {"scale": np.ones(2, np.float16)} | inputs
    with pytest.raises((ValueError, IndexError, ZeroDivisionError)):
        DECOMPRESS[kind](given)


SMALL_ARRAYS = st.one_of(
    st.lists(st.integers(0, 3), min_size=0, max_size=4).map(lambda v: np.array(v, np.uint8)),
    st.lists(st.integers(-3, 3), min_size=1, max_size=4).map(lambda v: np.array(v, np.int32)),
    st.lists(st.integers(-3, 3), min_size=4, max_size=4).map(lambda v: np.array(v, np.float32).reshape(2, 2)),
    st.just(np.ones((2, 2, 2, 1), np.float16)),
    st.integers(-2, 2).map(np.int32),
    st.just("text"),
)
NAMES = ("quantized_data", "data", "scale", "zero_point", "axis", "offset", "lut", "indices", "shape")


@settings(max_examples=300)
@given(st.sampled_from(sorted(DECOMPRESS)), st.dictionaries(st.sampled_from(NAMES), SMALL_ARRAYS))
def test_any_parameters_give_an_array_or_a_known_error(kind: str, inputs: dict[str, Any]) -> None:
    from compress.coreml.program import UNFOLD_ERRORS

    with contextlib.suppress(*UNFOLD_ERRORS):
        assert isinstance(DECOMPRESS[kind](inputs), np.ndarray | np.generic)
