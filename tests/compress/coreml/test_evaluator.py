"""Programs are run as they say, faults are found and named, and what cannot be run is refused beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.coreml import evaluator as module
from compress.coreml.evaluator import FP16_MAX, Evaluator, NumericFault, Peak
from compress.coreml.package import read_package
from compress.coreml.program import Operation, Program, TensorType, read_program
from runtime.errors import UserError
from tests.compress.coreml.conftest import TABLE, WEIGHT, small_network
from tests.fixtures.mil_programs import write_program

X = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
HALF = np.float16


@pytest.fixture
def small(small_package: Path) -> Program:
    return read_program(read_package(small_package))


@pytest.fixture(scope="module")
def small_half(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The small program in fp16, as coremltools writes it."""
    path = tmp_path_factory.mktemp("half") / "half.mlpackage"
    return read_program(read_package(write_program(path, {"x": (1, 3, 8, 8)}, small_network, "fp16")))


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


def test_fp32(small: Program) -> None:
    evaluator = Evaluator(small)
    found, expected = evaluator({"x": X}), by_hand(X, lambda v: np.asarray(v, np.float64))
    assert list(found) == ["found", "soft"]
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5)
    assert evaluator.peak == Peak()  # nothing was rounded


def test_fp16_rounds_every_result(small_half: Program) -> None:
    evaluator = Evaluator(small_half, "fp16")
    expected = by_hand(X, lambda v: np.asarray(v, np.float32).astype(HALF).astype(np.float64))
    found = evaluator({"x": X})
    for name, value in found.items():
        # A sum in another order may round to the neighbour: one unit in the last place.
        np.testing.assert_allclose(value, expected[name], rtol=2**-10, atol=2e-4)
        assert np.array_equal(value, value.astype(HALF)), name
    exact = Evaluator(small_half, "fp32")({"x": X})
    assert 0 < np.abs(exact["found"] - found["found"]).max() < 0.02


def test_a_program_of_fp32_is_not_rounded(small: Program) -> None:
    one, other = Evaluator(small, "fp16")({"x": X}), Evaluator(small, "fp32")({"x": X})
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_runs_do_not_depend_on_each_other(small: Program) -> None:
    evaluator = Evaluator(small)
    first = evaluator({"x": X})
    evaluator({"x": X * 3})
    assert np.array_equal(evaluator({"x": X})["found"], first["found"])


def test_the_largest_number_is_kept_with_its_operation(small_half: Program) -> None:
    evaluator = Evaluator(small_half, "fp16")
    evaluator({"x": np.full_like(X, 1000)})
    assert evaluator.peak.value > 10_000 and evaluator.peak.operation.startswith("linear 'found")
    before = evaluator.peak
    evaluator({"x": X})
    assert evaluator.peak == before


# ---- faults


def test_overflow_in_fp16_is_named(small_half: Program) -> None:
    x = np.full_like(X, 30_000)
    with pytest.raises(NumericFault, match=r"^conv 'seen\w*' overflows in fp16: [\d.e+]+ is more than 65504$"):
        Evaluator(small_half, "fp16")({"x": x})
    assert np.isfinite(Evaluator(small_half, "fp32")({"x": x})["found"]).all()


def test_overflow_begins_where_the_nearest_half_is_infinite(tmp_path: Path) -> None:
    path = write_program(tmp_path / "a.mlpackage", {"x": (1, 2)}, lambda mb, x: mb.mul(x=x, y=np.float32(2)), "fp16")
    program = read_program(read_package(path))
    evaluator = Evaluator(program, "fp16")
    (name,) = program.outputs
    assert evaluator({"x": np.array([[32752, 1]], np.float32)})[name].tolist() == [[FP16_MAX, 2]]
    assert evaluator.peak.value == FP16_MAX and evaluator.peak.operation.startswith("mul ")
    with pytest.raises(NumericFault, match="overflows"):
        evaluator({"x": np.array([[1, -32768]], np.float32)})
    with pytest.raises(NumericFault, match=r"cast .* overflows in fp16: 65520 is more"):
        evaluator({"x": np.array([[1, 65520]], np.float32)})


def test_nan_and_infinity_are_named(small: Program) -> None:
    bad = X.copy()
    bad[0, 1, 4, 4] = np.nan
    with pytest.raises(NumericFault, match=r"^sub 'sub\w*' gives nan in fp32$"):
        Evaluator(small)({"x": bad})
    bad[0, 1, 4, 4] = np.inf
    with pytest.raises(NumericFault, match=r"^sub 'sub\w*' overflows in fp32: it is infinite$"):
        Evaluator(small)({"x": bad})


def test_nan_from_within(tmp_path: Path) -> None:
    path = write_program(
        tmp_path / "a.mlpackage", {"x": (1, 2)}, lambda mb, x: mb.real_div(x=x, y=mb.abs(x=x), name="quotient")
    )
    program = read_program(read_package(path))
    assert Evaluator(program)({"x": np.array([[-2, 3]], np.float32)})["quotient"].tolist() == [[-1, 1]]
    with pytest.raises(NumericFault, match="real_div 'quotient' gives nan"):
        Evaluator(program)({"x": np.zeros((1, 2), np.float32)})


# ---- what is refused


def test_inputs_must_fit(small: Program) -> None:
    with pytest.raises(ValueError, match="the program takes"):
        Evaluator(small)({"x": X[:, :, :4]})
    with pytest.raises(ValueError, match="the program takes"):
        Evaluator(small)({"y": X})


def test_an_unknown_operation_is_named(tmp_path: Path) -> None:
    path = write_program(tmp_path / "a.mlpackage", {"x": (1, 2)}, lambda mb, x: mb.erf(x=x, name="strange"))
    with pytest.raises(UserError, match=r"a\.mlpackage: unknown operation 'erf' \('strange'\)"):
        Evaluator(read_program(read_package(path)))


def edited(program: Program, index: int, **changes: Any) -> Program:
    operations = list(program.operations)
    old = operations[index]
    fields = {"kind": old.kind, "name": old.name, "inputs": old.inputs, "outputs": old.outputs} | changes
    operations[index] = Operation(**fields)
    return replace(program, operations=tuple(operations))


SUB, CONV, RELU, MEAN, LINEAR, SLICE, RESHAPE, SOFTMAX = range(8)
FP32 = "fp32"


def refuse(program: Program) -> str:
    with pytest.raises(UserError) as raised:
        Evaluator(program)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_programs_that_do_not_fit_together(small: Program) -> None:
    relu, linear = small.operations[RELU], small.operations[LINEAR]
    (bent,) = relu.outputs
    shape = relu.outputs[bent].shape
    assert "relu 'bent': nothing before it makes its x" in refuse(edited(small, RELU, inputs={"x": ("absent",)}))
    assert "nothing before it makes its x" in refuse(edited(small, RELU, inputs={"x": (bent,)}))
    assert "nothing before it makes its x" in refuse(edited(small, RELU, inputs={"x": ()}))
    assert "makes what is there already" in refuse(edited(small, RELU, outputs={"x": TensorType(FP32, shape)}))
    assert "relu 'bent' cannot be evaluated" in refuse(edited(small, RELU, inputs={}))
    assert "cannot be evaluated" in refuse(edited(small, RELU, inputs=relu.inputs | {"new": relu.inputs["x"]}))
    assert "gives [(1, 8, 6, 6)], not [(8, 6, 6)]" in refuse(
        edited(small, RELU, outputs={bent: TensorType(FP32, (8, 6, 6))})
    )
    assert "only fp16 and fp32" in refuse(edited(small, RELU, outputs={bent: TensorType("int32", shape)}))
    assert "has the size (0, 8)" in refuse(edited(small, RELU, outputs={bent: TensorType(FP32, (0, 8))}))
    assert "has the size" in refuse(edited(small, RELU, outputs={bent: TensorType(FP32, (1 << 27,))}))
    wrong = linear.inputs | {"weight": (bent,)}
    assert "linear 'found' cannot be evaluated" in refuse(edited(small, LINEAR, inputs=wrong))
    two = relu.outputs | {"more": relu.outputs[bent]}
    assert "gives [(1, 8, 6, 6)], not" in refuse(edited(small, RELU, outputs=two))


def test_outputs_must_be_made(small: Program) -> None:
    assert "nothing makes the output 'absent'" in refuse(replace(small, outputs=("absent",)))
    assert "nothing makes the output 'x'" in refuse(replace(small, outputs=("x",)))
    constant = next(iter(small.constants))
    assert "nothing makes the output" in refuse(replace(small, outputs=(constant,)))


def test_operations_on_constants_alone(small: Program) -> None:
    """Integers, texts and numbers stay what they are: no kernel computes with them."""
    constants = dict(small.constants) | {"one": np.array([1, 2], np.int32), "text": "a", "number": np.float32(2)}
    program = replace(small, constants=constants)
    (bent,) = small.operations[RELU].outputs
    for x, y in (("one", "one"), ("text", "text"), ("number", "number"), ("text", "one")):
        inputs = {"x": (x,), "y": (y,)}
        outputs = {bent: TensorType(FP32, (2,))}
        assert "cannot be evaluated" in refuse(edited(program, RELU, kind="add", inputs=inputs, outputs=outputs))


def test_inputs_of_other_types_and_sizes(small: Program) -> None:
    assert "input 'x' is int32" in refuse(replace(small, inputs={"x": TensorType("int32", (1, 3, 8, 8))}))
    assert "input 'x' has the size" in refuse(replace(small, inputs={"x": TensorType(FP32, (1 << 40,))}))


def test_values_are_freed(small: Program) -> None:
    done = module._last_uses(small)
    made = [name for operation in small.operations for name in operation.outputs]
    assert sorted(name for names in done for name in names) == sorted(set(made) - {"found", "soft"})
    for index, names in enumerate(done):
        later = [n for op in small.operations[index + 1 :] for inputs in op.inputs.values() for n in inputs]
        assert set(names).isdisjoint(later)
