"""The smallest variant as packages: what is in them, what they say of themselves, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.coreml import convert as module
from compress.coreml.convert import PRECISIONS, PackageFacts, PackageOptions, as_stored, check_options, write_package
from compress.coreml.evaluator import Evaluator
from compress.coreml.package import package_bytes, read_package
from compress.coreml.package_check import evaluate_crop
from compress.coreml.program import Operation, Program, TensorType, read_program
from compress.coreml.weight_storage import MIN_ELEMENTS
from compress.formats import FORMATS
from runtime.backends.contract import OUTPUT_SHAPES, OUTPUT_UNITS
from runtime.errors import UserError
from targets.fit import FEATURES
from training.network import ERNet, build

CROPS = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), dtype=np.uint8)
IMAGE = PackageOptions("iOS17", image_input=True)
NOTHING_KEPT = PackageOptions(keep_fp32=())

Made = tuple[Path, PackageFacts, Program]


@pytest.fixture(scope="module")
def network() -> ERNet:
    torch.manual_seed(0)
    return build("er-nano").eval()


@pytest.fixture(scope="module")
def made(network: ERNet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Packages by precision and options, each made once."""
    folder, cache = tmp_path_factory.mktemp("packages"), dict[Any, Made]()

    def make(precision: str, options: PackageOptions | None = None) -> Made:
        key = (precision, options)
        if key not in cache:
            path = folder / f"{len(cache)}.mlpackage"
            facts = write_package(network, path, precision, options)
            cache[key] = (path, facts, read_program(read_package(path)))
        return cache[key]

    yield make


def kinds_in_fp32(program: Program) -> dict[str, int]:
    found: dict[str, int] = {}
    for operation in program.operations:
        if any(kind.dtype == "fp32" for kind in operation.outputs.values()):
            found[operation.kind] = found.get(operation.kind, 0) + 1
    return found


# ---- what is written


@pytest.mark.slow
def test_facts(made: Any) -> None:
    path, facts, program = made("fp16")
    assert facts.precision == "fp16" and facts.weights == "fp16" and not facts.image_input
    assert facts.deployment_target == "iOS16" and facts.opset == program.opset == "CoreML6"
    assert facts.max_rank == 4 and facts.compressed_constants == 0
    assert facts.bytes == package_bytes(path)
    assert sum(facts.operations.values()) == len(program.operations)
    assert facts.keep_fp32 == ("normalisation", "soft-argmax")
    parameters = sum(p.numel() for p in as_stored(build("er-nano").eval(), "fp16").parameters())
    assert 2 * parameters < facts.bytes < 2 * parameters + 150_000


@pytest.mark.slow
def test_inputs_and_outputs_are_the_contract(made: Any) -> None:
    _, _, program = made("fp16")
    assert program.inputs == {"image": TensorType("fp32", (1, 3, 160, 160))} and program.images == frozenset()
    types = {name: kind for operation in program.operations for name, kind in operation.outputs.items()}
    assert {name: types[name] for name in program.outputs} == {
        name: TensorType("fp32", shape) for name, shape in OUTPUT_SHAPES.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("options", [None, IMAGE])
def test_metadata_says_units(made: Any, options: PackageOptions | None) -> None:
    package = read_package(made("fp16", options)[0])
    description = package.model.description
    assert [o.name for o in description.output] == list(OUTPUT_SHAPES)
    for output in description.output:
        facts = OUTPUT_UNITS[output.name]
        assert output.shortDescription == f"{facts['unit']}; {facts['shape']}"
        assert list(output.type.multiArrayType.shape) == facts["shape"]
        assert output.type.multiArrayType.dataType == output.type.multiArrayType.FLOAT32
    assert "er-nano" in description.metadata.shortDescription and "right, left" in description.metadata.shortDescription
    assert description.metadata.license == "Apache-2.0"
    (given,) = description.input
    if options is None:
        assert given.shortDescription.startswith("RGB, 0..1; NCHW")
        assert list(given.type.multiArrayType.shape) == [1, 3, 160, 160]
    else:
        assert "0..1" not in given.shortDescription  # Core ML gives pixels, 0..255
        picture = given.type.imageType
        assert (picture.width, picture.height) == (160, 160) and picture.colorSpace == picture.RGB


@pytest.mark.slow
def test_a_picture_gives_the_same_hands(made: Any) -> None:
    """Scaling lies inside; pixels are what Core ML hands over."""
    plain, picture = made("fp16", PackageOptions("iOS17"))[2], made("fp16", IMAGE)[2]
    assert picture.images == {"image"}
    for arithmetic, tolerance in (("fp32", 2e-5), ("fp16", 2e-5)):  # the scaling is kept in fp32
        for crop in CROPS:
            one = evaluate_crop(Evaluator(plain, arithmetic), crop)
            other = evaluate_crop(Evaluator(picture, arithmetic), crop)
            for name in OUTPUT_SHAPES:
                np.testing.assert_allclose(other[name], one[name], rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_what_is_kept_in_fp32(made: Any) -> None:
    kept, nothing = made("fp16")[2], made("fp16", NOTHING_KEPT)[2]
    assert set(kinds_in_fp32(nothing)) == {"cast"}  # of the outputs
    found = kinds_in_fp32(kept)
    assert found.pop("cast") == len(OUTPUT_SHAPES)
    assert found.pop("mul") + found.pop("sub") > 2
    assert found.pop("softmax") == 1  # that of the heat maps, not of attention
    assert "conv" not in found and "matmul" not in found and "layer_norm" not in found
    assert kept.operations[0].kind in ("sub", "mul")  # the picture, before it is rounded


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["w8", "palette6"])
def test_the_package_holds_the_rounded_network(made: Any, network: ERNet, precision: str) -> None:
    _, facts, program = made(precision)
    stored = as_stored(network, precision)
    inside: dict[tuple[int, ...], list[np.ndarray]] = {}
    for value in program.constants.values():
        if isinstance(value, np.ndarray) and value.dtype == np.float16:
            inside.setdefault(value.shape, []).append(value)
    weights = [part.weight for part in stored.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    for weight in weights:
        expected = weight.detach().numpy()
        assert any(np.array_equal(value, expected) for value in inside[expected.shape])
    large = [weight for weight in weights if weight.numel() > MIN_ELEMENTS]
    assert facts.compressed_constants == len(program.compressed) >= len(large) > 60
    numbers = sum(weight.numel() for weight in large)
    whole = made("fp16")[1].bytes
    share = {"w8": 1.0, "palette6": 0.75}[precision]
    scales = {"w8": sum(2 * weight.shape[0] for weight in large), "palette6": 128 * len(large)}[precision]
    operations = 700 * len(large)  # the text of each, and its entries in the file, which begin at multiples of 64
    assert facts.bytes < whole - (2 - share) * numbers + scales + operations


@pytest.mark.slow
def test_int8_means_weights(made: Any) -> None:
    _, facts, _ = made("int8")
    assert facts.precision == "int8" and facts.weights == "w8"
    assert abs(facts.bytes - made("w8")[1].bytes) < 200


@pytest.mark.slow
def test_fp32_is_the_network_as_given(made: Any, network: ERNet) -> None:
    _, facts, program = made("fp32")
    assert facts.weights is None and facts.keep_fp32 == () and facts.max_rank == 4
    assert {kind.dtype for op in program.operations for kind in op.outputs.values()} == {"fp32"}
    assert as_stored(network, "fp32") is network


@pytest.mark.slow
def test_a_package_is_replaced_and_nothing_else_is_left(made: Any, network: ERNet, tmp_path: Path) -> None:
    path = tmp_path / "a.mlpackage"
    path.mkdir()
    (path / "old").write_text("old")
    write_package(network, path, "fp32")
    assert not (path / "old").exists() and [p.name for p in tmp_path.iterdir()] == ["a.mlpackage"]


# ---- what is refused


def test_every_precision_of_the_format_can_be_written() -> None:
    assert set(PRECISIONS) == set(FORMATS["coreml"].precisions)
    for precision in PRECISIONS:
        check_options(precision, PackageOptions())


@pytest.mark.parametrize(
    ("precision", "options", "says"),
    [
        ("fp61", PackageOptions(), "unknown precision 'fp61'; did you mean fp16"),
        ("fp16", PackageOptions(keep_fp32=("norm",)), "unknown part to keep in fp32 'norm'; did you mean norms"),
        ("fp16", PackageOptions("iOS14"), "unknown deployment target 'iOS14'"),
        ("w8", PackageOptions("iOS15"), "needs iOS16, and the package must run on iOS15"),
        ("int8", PackageOptions("iOS15"), "needs iOS16, and the package must run on iOS15"),
        ("palette6", PackageOptions("iOS15"), f"needs {FEATURES['palette6'].since}"),
    ],
)
def test_options_that_do_not_fit(
    network: ERNet, precision: str, options: PackageOptions, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says):
        write_package(network, tmp_path / "a.mlpackage", precision, options)
    assert list(tmp_path.iterdir()) == []


def test_other_names_and_missing_folders(network: ERNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"ends in \.mlpackage"):
        write_package(network, tmp_path / "a.mlmodel", "fp16")
    monkeypatch.setattr(module, "_convert", lambda *_: None)
    with pytest.raises(UserError, match="create its folder first"):
        write_package(network, tmp_path / "absent" / "a.mlpackage", "fp16")


def program_of(outputs: dict[str, TensorType]) -> Program:
    operations = tuple(Operation("relu", name, {}, {name: kind}) for name, kind in outputs.items())
    return Program(Path("a.mlpackage"), "CoreML6", {}, frozenset(), tuple(outputs), operations, {}, {})


def test_programs_that_break_the_contract_are_refused() -> None:
    good = {name: TensorType("fp32", shape) for name, shape in OUTPUT_SHAPES.items()}
    module._check_rules(program_of(good))
    with pytest.raises(ValueError, match="tensor deep of relu has rank 5"):
        deep = Operation("relu", "deep", {}, {"deep": TensorType("fp16", (1, 1, 1, 1, 1))})
        program = program_of(good)
        module._check_rules(replace(program, operations=(deep, *program.operations)))
    with pytest.raises(ValueError, match="the program gives"):
        module._check_rules(program_of(good | {"more": TensorType("fp32", (1,))}))
    with pytest.raises(ValueError, match="output presence is"):
        module._check_rules(program_of(good | {"presence": TensorType("fp16", (1, 2))}))
    with pytest.raises(ValueError, match="output camera is"):
        module._check_rules(program_of(good | {"camera": TensorType("fp32", (2, 3))}))
