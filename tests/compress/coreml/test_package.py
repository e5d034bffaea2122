"""The folder, what it says of itself, what must not be trusted, and that it is replaced as a whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compress.coreml.__main__ import describe, main
from compress.coreml.package import TensorType, embed, package_sha256, read_package, read_program, replace_package
from runtime.backends.contract import METADATA_KEY
from runtime.errors import UserError


def refuse(path: Path) -> str:
    """The one line that the command ends with."""
    with pytest.raises(UserError) as raised:
        main([str(path)])
    assert "\n" not in str(raised.value)
    return str(raised.value)


# ---- what is there


def test_a_program_is_read(small_package: Path) -> None:
    program = read_program(read_package(small_package))
    assert program.opset == "CoreML6" and program.inputs == {"x": TensorType("fp32", (1, 3, 8, 8))}
    assert program.outputs == {"found": TensorType("fp32", (1, 8)), "soft": TensorType("fp32", (1, 36))}
    kinds = [operation.kind for operation in program.operations]
    assert kinds == ["sub", "conv", "relu", "reduce_mean", "linear", "slice_by_index", "reshape", "softmax"]
    assert program.operations[1].outputs == (TensorType("fp32", (1, 8, 6, 6)),)
    assert program.stored == {"fp32": 216 + 64 + 1 + 8} and program.compressed == 0  # two weights, 0.5, a bias of zeros


def test_the_command(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(copied)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("damaged.mlpackage: 0.0") and lines[0].endswith(" MB, iOS16 and later, opset CoreML6")
    assert lines[1:4] == ["takes x 1x3x8x8 fp32", "gives found 1x8 fp32", "gives soft 1x36 fp32"]
    assert lines[4].startswith("8 operations: 1 conv, 1 linear, ") and lines[5] == "largest rank 4"
    assert lines[6].startswith("may leave the Neural Engine: 8 by fp32 arithmetic (1 conv, ")
    assert lines[7:] == ["weights: 289 numbers as fp32", "no passport: it was not written by python compress/export.py"]
    embed(copied, {"variant": "er-s\nand more", "precision": "w8", "dataset": None})
    assert describe(read_package(copied))[-2:] == ["variant: er-s?and more", "precision: w8"]


def test_the_passport_is_embedded_and_replaced(copied: Path) -> None:
    before = package_sha256(copied)
    embed(copied, {"variant": "er-s"})
    embed(copied, {"variant": "er-nano", "unit": "μm"})
    metadata = read_package(copied).model.description.metadata.userDefined
    assert json.loads(metadata[METADATA_KEY]) == {"variant": "er-nano", "unit": "μm"}
    assert "com.github.apple.coremltools.version" in metadata
    assert package_sha256(copied) != before


def test_the_digest_is_of_content_alone(small_package: Path, copied: Path) -> None:
    manifest = json.loads((copied / "Manifest.json").read_text())
    (copied / "Manifest.json").write_text(json.dumps(manifest, indent=1))
    assert package_sha256(copied) == package_sha256(small_package)


def test_replacing(copied: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.mlpackage"
    replace_package(shutil.copytree(copied, tmp_path / "first"), target)
    (target / "old").write_text("old")
    replace_package(shutil.copytree(copied, tmp_path / "second"), target)
    assert not (target / "old").exists() and read_package(target)
    with pytest.raises(OSError):
        replace_package(tmp_path / "absent", target)
    assert read_package(target)  # a failed replacement leaves the old one
    assert sorted(p.name for p in tmp_path.iterdir()) == ["damaged.mlpackage", "target.mlpackage"]


# ---- what is refused: files


def test_what_is_no_package(tmp_path: Path, tiny_model: Path) -> None:
    assert "is no package" in refuse(tmp_path / "absent.mlpackage")
    assert "is no package" in refuse(tiny_model)
    (tmp_path / "empty.mlpackage").mkdir()
    assert "lacks Manifest.json" in refuse(tmp_path / "empty.mlpackage")


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ("", "names no model"),
        ("[]", "names no model"),
        ("\xff", "names no model"),
        ("[" * 30_000, "names no model"),
        ('{"rootModelIdentifier": ["a"], "itemInfoEntries": {}}', "names no model"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": 7}}}', "names no model"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": ""}}}', "is not a file of the package"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "x\\u0000y"}}}', "cannot be read"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "\\ud800"}}}', "cannot be read"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "../../x"}}}', "points outside"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "/etc/passwd"}}}', "points outside"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "' + "n" * 300 + '"}}}', "cannot be read"),
        ('{"pad": "' + "x" * 70_000 + '"}', "more than any package"),
    ],
)
def test_bad_manifests(copied: Path, manifest: str, says: str) -> None:
    (copied / "Manifest.json").write_text(manifest, encoding="latin-1")
    assert says in refuse(copied)


def test_models_that_are_no_files_of_the_package(copied: Path, tmp_path: Path) -> None:
    model = read_package(copied).model_path
    outside = tmp_path / "outside.mlmodel"
    shutil.move(model, outside)
    assert "cannot be read" in refuse(copied)
    for make, says in (
        (lambda: model.symlink_to(outside), "is not a file of the package"),
        (lambda: model.symlink_to(model), "cannot be read"),
        (lambda: os.mkfifo(model), "is not a file of the package"),
        (lambda: os.truncate(os.open(model, os.O_CREAT | os.O_WRONLY), 65 << 20), "more than any package"),
    ):
        make()
        assert says in refuse(copied)
        model.unlink()


def test_weights_that_are_no_file_or_cut_short(copied: Path) -> None:
    weights = read_package(copied).weights_path
    for size, says in ((2 << 30, "more than any package"), (400, "cut short"), (0, "cut short")):
        os.truncate(weights, size)
        assert says in refuse(copied)
    weights.unlink()
    assert "missing" in refuse(copied)
    weights.mkdir()
    assert "is not a file" in refuse(copied)


# ---- what is refused: programs


def find(block: Any, kind: str) -> Any:
    return next(operation for operation in block.operations if operation.type == kind)


def tensor(block: Any) -> Any:
    return find(block, "relu").outputs[0].type.tensorType


def weight(block: Any) -> Any:
    """A constant in the weight file."""
    constants = [o.attributes["val"] for o in block.operations if o.type == "const"]
    return next(value for value in constants if value.HasField("blobFileValue"))


def size_of(value: Any) -> Any:
    return value.type.tensorType.dimensions[0].constant


EDITS: list[tuple[str, Callable[[Any], object], str]] = [
    ("blocks", lambda b: find(b, "relu").blocks.add(), "control flow is not supported"),
    ("output of no type", lambda b: find(b, "relu").outputs[0].type.Clear(), "a value is no tensor"),
    ("list type", lambda b: find(b, "relu").outputs[0].type.listType.SetInParent(), "a value is no tensor"),
    ("unknown type", lambda b: setattr(tensor(b), "dataType", 4242), "unknown type 4242"),
    ("no static shape", lambda b: tensor(b).dimensions[0].unknown.SetInParent(), "no static shape"),
    ("a deep value", lambda b: [tensor(b).dimensions.add() for _ in range(100)], "104 dimensions"),
    ("a large weight", lambda b: setattr(size_of(weight(b)), "size", 1 << 60), "cut short"),
    ("far offset", lambda b: setattr(weight(b).blobFileValue, "offset", (1 << 64) - 1), "cut short"),
    ("weights elsewhere", lambda b: setattr(weight(b).blobFileValue, "fileName", "/etc/passwd"), "in another file"),
    ("an output that nothing makes", lambda b: b.outputs.append("a\nb"), "nothing makes its output 'a?b'"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "says"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS])
def test_what_is_wrong_is_said(copied: Path, edit: Callable[[Any], object], says: str) -> None:
    package = read_package(copied)
    (block,) = package.model.mlProgram.functions["main"].block_specializations.values()
    edit(block)
    package.model_path.write_bytes(package.model.SerializeToString())
    assert says in refuse(copied)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda m: m.neuralNetwork.SetInParent(), "holds no ML program"),
        (lambda m: m.mlProgram.functions["other"].SetInParent(), "not just the function 'main'"),
        (lambda m: m.mlProgram.functions.clear(), "not just the function 'main'"),
        (lambda m: setattr(m.mlProgram.functions["main"], "opset", "CoreML\n9"), "no block for its opset 'CoreML?9'"),
        (lambda m: m.mlProgram.functions["main"].inputs[0].type.Clear(), "a value is no tensor"),
    ],
)
def test_other_models(copied: Path, edit: Callable[[Any], object], says: str) -> None:
    package = read_package(copied)
    edit(package.model)
    package.model_path.write_bytes(package.model.SerializeToString())
    assert says in refuse(copied)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 16), st.integers(0, 300), st.binary(max_size=8), st.sampled_from(["model", "manifest"]))
def test_any_cut_and_splice_gives_facts_or_one_line(
    small_package: Path, copied: Path, start: int, length: int, instead: bytes, which: str
) -> None:
    model = read_package(small_package).model_path.relative_to(small_package)
    file = model if which == "model" else Path("Manifest.json")
    content = (small_package / file).read_bytes()
    start %= len(content)
    (copied / file).write_bytes(content[:start] + instead + content[start + length :])
    try:
        assert describe(read_package(copied))
    except UserError as error:
        assert "\n" not in str(error)
    (copied / file).write_bytes(content)
