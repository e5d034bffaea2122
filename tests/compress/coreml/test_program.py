"""A program as plain data; whatever is wrong with it ends in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from compress.coreml import program as module
from compress.coreml.evaluator import Evaluator, NumericFault
from compress.coreml.package import read_package
from compress.coreml.program import Program, TensorType, printable, read_program
from runtime.errors import UserError
from tests.compress.coreml.conftest import TABLE, WEIGHT

Change = Callable[[Callable[[Any], object]], Path]


def read(path: Path) -> Program:
    return read_program(read_package(path))


def refuse(path: Path) -> str:
    """The one line that reading it ends with."""
    with pytest.raises(UserError) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_program_is_read(small_package: Path) -> None:
    program = read(small_package)
    assert program.opset == "CoreML6"
    assert program.inputs == {"x": TensorType("fp32", (1, 3, 8, 8))}
    assert program.images == frozenset() and program.compressed == {}
    assert program.outputs == ("found", "soft")
    kinds = [operation.kind for operation in program.operations]
    assert kinds == ["sub", "conv", "relu", "reduce_mean", "linear", "slice_by_index", "reshape", "softmax"]
    conv = program.operations[1]
    assert conv.name == "seen" and list(conv.outputs.values()) == [TensorType("fp32", (1, 8, 6, 6))]
    values = {key: program.constants[names[0]] for key, names in conv.inputs.items() if key != "x"}
    assert np.array_equal(values["weight"], WEIGHT) and values["pad_type"] == "valid"
    assert values["strides"].tolist() == [1, 1]
    linear = program.operations[4]
    assert np.array_equal(program.constants[linear.inputs["weight"][0]], TABLE)


def find(block: Any, kind: str) -> Any:
    return next(operation for operation in block.operations if operation.type == kind)


def large_const(block: Any) -> Any:
    """A constant in the weight file."""
    return next(o for o in block.operations if o.type == "const" and o.attributes["val"].HasField("blobFileValue"))


def small_const(block: Any, field: str = "ints") -> Any:
    return next(
        o.attributes["val"]
        for o in block.operations
        if o.type == "const" and o.attributes["val"].immediateValue.tensor.WhichOneof("value") == field
    )


def test_in_place_values_become_constants(change: Change) -> None:
    def inline(block: Any) -> None:
        """Write the reshape's new shape into the operation itself."""
        reshape = find(block, "reshape")
        name = reshape.inputs["shape"].arguments[0].name
        const = next(o for o in block.operations if o.type == "const" and o.outputs[0].name == name)
        reshape.inputs["shape"].arguments[0].value.CopyFrom(const.attributes["val"])
        block.operations.remove(const)

    program = read(change(inline))
    reshape = next(o for o in program.operations if o.kind == "reshape")
    assert program.constants[reshape.inputs["shape"][0]].tolist() == [1, 36]


def two_outputs(operation: Any) -> None:
    operation.outputs.add().CopyFrom(operation.outputs[0])
    operation.outputs[1].name += "_again"


EDITS: list[tuple[str, Callable[[Any], object], str]] = [
    ("no value", lambda b: find(b, "const").attributes.pop("val"), "has no value"),
    ("two outputs", lambda b: two_outputs(find(b, "const")), "has no value"),
    ("blocks", lambda b: find(b, "relu").blocks.add(), "control flow is not supported"),
    ("output of no type", lambda b: find(b, "relu").outputs[0].type.Clear(), "a value is no tensor"),
    ("list type", lambda b: find(b, "relu").outputs[0].type.listType.SetInParent(), "a value is no tensor"),
    (
        "unknown type",
        lambda b: setattr(find(b, "relu").outputs[0].type.tensorType, "dataType", 4242),
        "unknown type 4242",
    ),
    (
        "no static shape",
        lambda b: find(b, "relu").outputs[0].type.tensorType.dimensions[0].unknown.SetInParent(),
        "no static shape",
    ),
    (
        "a large value",
        lambda b: setattr(find(b, "relu").outputs[0].type.tensorType.dimensions[0].constant, "size", (1 << 64) - 1),
        "larger than any",
    ),
    (
        "a deep value",
        lambda b: [
            setattr(find(b, "relu").outputs[0].type.tensorType.dimensions.add().constant, "size", 1) for _ in range(100)
        ],
        "larger than any",
    ),
    ("unset argument", lambda b: find(b, "relu").inputs["x"].arguments[0].Clear(), "a value is no tensor"),
    (
        "another weight file",
        lambda b: setattr(large_const(b).attributes["val"].blobFileValue, "fileName", "/etc/passwd"),
        "weights in another file",
    ),
    (
        "wrong offset",
        lambda b: setattr(large_const(b).attributes["val"].blobFileValue, "offset", 1),
        "no array starts at offset 1",
    ),
    (
        "far offset",
        lambda b: setattr(large_const(b).attributes["val"].blobFileValue, "offset", (1 << 64) - 1),
        "outside the weights",
    ),
    (
        "another size",
        lambda b: setattr(large_const(b).attributes["val"].type.tensorType.dimensions[0].constant, "size", 7),
        "numbers, not",
    ),
    (
        "another declared size",
        lambda b: setattr(large_const(b).outputs[0].type.tensorType.dimensions[0].constant, "size", 7),
        "float32 (8, ",
    ),
    (
        "declared a text",
        lambda b: setattr(large_const(b).outputs[0].type.tensorType, "dataType", 2),
        "is not of its type, string",
    ),
    (
        "a text in the file",
        lambda b: setattr(large_const(b).attributes["val"].type.tensorType, "dataType", 2),
        "a text lies among the weights",
    ),
    (
        "too many numbers",
        lambda b: small_const(b).immediateValue.tensor.ints.values.append(3),
        "numbers, not",
    ),
    (
        "numbers of another type",
        lambda b: (
            setattr(small_const(b).type.tensorType, "dataType", 31),
            small_const(b).immediateValue.tensor.ints.values.__setitem__(0, -3),
        ),
        "type uint8 holds other numbers",
    ),
    (
        "bytes cut short",
        lambda b: setattr(small_const(b).immediateValue.tensor.bytes, "values", b"123"),
        "cut short",
    ),
    (
        "texts for numbers",
        lambda b: small_const(b).immediateValue.tensor.strings.values.append("a"),
        "is a text",
    ),
    ("no number", lambda b: small_const(b).immediateValue.tensor.Clear(), "no usable value"),
    (
        "a constexpr that nobody knows",
        lambda b: setattr(find(b, "reduce_mean"), "type", "constexpr_new"),
        "unknown operation 'constexpr_new'",
    ),
    (
        "a constexpr of no constant",
        lambda b: setattr(find(b, "reduce_mean"), "type", "constexpr_lut_to_dense"),
        "needs a constant x",
    ),
]


@pytest.mark.parametrize(("edit", "says"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS])
def test_what_is_wrong_is_said(change: Change, edit: Callable[[Any], object], says: str) -> None:
    assert says in refuse(change(edit))


def test_names_do_not_break_the_line(change: Change) -> None:
    def edit(block: Any) -> None:
        relu = find(block, "relu")
        relu.attributes["name"].immediateValue.tensor.strings.values[0] = "a\nb\x1b[31m" + "c" * 1000
        relu.blocks.add()

    line = refuse(change(edit))
    assert "a?b?[31mccc" in line and len(line) < 400
    assert printable("x\r\ny\u2028z") == "x??y?z"


def edit_model(path: Path, edit: Callable[[Any], object]) -> Path:
    package = read_package(path)
    edit(package.model.mlProgram)
    package.model_path.write_bytes(package.model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda p: p.functions["other"].SetInParent(), "not just the function 'main'"),
        (lambda p: p.functions.clear(), "not just the function 'main'"),
        (lambda p: setattr(p.functions["main"], "opset", "CoreML\n9"), "no block for its opset 'CoreML?9'"),
        (lambda p: p.functions["main"].inputs[0].type.Clear(), "a value is no tensor"),
    ],
)
def test_wrong_functions(copied: Path, edit: Callable[[Any], object], says: str) -> None:
    assert says in refuse(edit_model(copied, edit))


def test_limits(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPERATIONS", 5)
    assert "operations" in refuse(small_package)
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_ELEMENTS", 300)  # each value alone fits
    assert "larger than any program" in refuse(small_package)


def run_all(path: Path) -> None:
    """Everything that is done with a package: it works, or ends in one line."""
    try:
        program = read(path)
        inputs = {name: np.zeros(kind.shape, np.float32) for name, kind in program.inputs.items()}
        for arithmetic in ("fp32", "fp16"):
            Evaluator(program, arithmetic)(inputs)
    except (UserError, NumericFault) as error:
        assert "\n" not in str(error)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
@example([(0, 0)], False)
@example([(3073, 128)], False)  # an axis that torch refuses only with content
def test_any_changed_bytes(small_package: Path, copied: Path, changes: list[tuple[int, int]], weights: bool) -> None:
    model = read_package(small_package).model_path
    source = model.parent / "weights" / "weight.bin" if weights else model
    content = bytearray(source.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    (copied / source.relative_to(small_package)).write_bytes(content)
    run_all(copied)
    (copied / source.relative_to(small_package)).write_bytes(source.read_bytes())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 16), st.integers(0, 300), st.binary(max_size=8))
def test_any_cut_and_splice(small_package: Path, copied: Path, start: int, length: int, instead: bytes) -> None:
    model = read_package(small_package).model_path
    content = model.read_bytes()
    start %= len(content)
    (copied / model.relative_to(small_package)).write_bytes(content[:start] + instead + content[start + length :])
    run_all(copied)
