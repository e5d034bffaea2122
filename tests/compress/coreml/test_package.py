"""The folder, what it says of itself, that damage ends in one line, and that it is replaced as a whole."""

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

from compress.coreml.package import (
    computing,
    embed,
    leaving,
    package_sha256,
    read_function,
    read_model,
    replace_package,
)
from runtime.backends.contract import METADATA_KEY
from runtime.errors import UserError
from tests.fixtures.mil_programs import write_program

MODEL = "Data/com.apple.CoreML/model.mlmodel"


def refuse(path: Path) -> str:
    """The one line that reading it ends with."""
    with pytest.raises(UserError) as raised:
        read_function(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_program_is_read(small_package: Path) -> None:
    kinds = [operation.op_type for operation in computing(read_function(small_package))]
    assert kinds == ["sub", "conv", "relu", "reduce_mean", "linear", "slice_by_index", "reshape", "softmax"]


def test_what_leaves(tmp_path: Path) -> None:
    def build(mb: Any, x: Any) -> Any:
        x = mb.gather(x=mb.gather(x=x, indices=[1, 0], axis=1), indices=[0, 1], axis=0)
        return mb.softmax(x=mb.reshape(x=mb.relu(x=x), shape=[1, 1, 2, 1, 2]), axis=-1)

    function = read_function(write_program(tmp_path / "a.mlpackage", (2, 2), build, "fp16"))
    found = leaving(function)
    assert found["gathering by index"] == {"gather": 2}
    assert found["rank above 4"] == {"reshape": 1, "softmax": 1, "cast": 1}
    assert found["fp32 arithmetic"] == {"cast": 1}  # of what the package gives


def test_the_passport_is_embedded_and_replaced(copied: Path) -> None:
    before = package_sha256(copied)
    (copied / "Manifest.json").write_text("{}")  # its identifiers are made anew for every package
    assert package_sha256(copied) == before
    embed(copied, {"variant": "er-s"})
    embed(copied, {"variant": "er-nano", "unit": "μm"})
    metadata = read_model(copied).description.metadata.userDefined
    assert json.loads(metadata[METADATA_KEY]) == {"variant": "er-nano", "unit": "μm"}
    assert "com.github.apple.coremltools.version" in metadata
    assert package_sha256(copied) != before


def test_replacing(copied: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.mlpackage"
    replace_package(shutil.copytree(copied, tmp_path / "first"), target)
    (target / "old").write_text("old")
    replace_package(shutil.copytree(copied, tmp_path / "second"), target)
    assert not (target / "old").exists() and read_model(target)
    with pytest.raises(OSError):
        replace_package(tmp_path / "absent", target)
    assert read_model(target)  # a failed replacement leaves the old one
    assert sorted(p.name for p in tmp_path.iterdir()) == ["damaged.mlpackage", "target.mlpackage"]


def test_what_is_no_package(tmp_path: Path, tiny_model: Path, copied: Path) -> None:
    assert "is no Core ML package" in refuse(tmp_path / "absent.mlpackage")
    assert "is no Core ML package" in refuse(tiny_model)
    os.truncate(copied / MODEL, 65 << 20)
    assert "a larger model than any" in refuse(copied)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda m: m.neuralNetwork.SetInParent(), "holds no ML program"),
        (lambda m: m.mlProgram.functions.clear(), "its program cannot be read"),
        (lambda m: setattr(m.mlProgram.functions["main"], "opset", "CoreML\n9"), "its program cannot be read"),
        (
            lambda m: m.mlProgram.functions["main"].block_specializations["CoreML6"].outputs.append("a\nb"),
            "its program cannot be read",
        ),
    ],
)
def test_other_models(copied: Path, edit: Callable[[Any], object], says: str) -> None:
    model = read_model(copied)
    edit(model)
    (copied / MODEL).write_bytes(model.SerializeToString())
    assert says in refuse(copied)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 16), st.integers(0, 300), st.binary(max_size=8))
def test_any_cut_and_splice_gives_a_program_or_one_line(
    small_package: Path, copied: Path, start: int, length: int, instead: bytes
) -> None:
    content = (small_package / MODEL).read_bytes()
    start %= len(content)
    (copied / MODEL).write_bytes(content[:start] + instead + content[start + length :])
    try:
        assert leaving(read_function(copied)) is not None
    except UserError as error:
        assert "\n" not in str(error)
