"""OpenVINO's and LiteRT's models in the runner: tiny ones, run by the engines themselves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("ai_edge_litert")
pytest.importorskip("openvino")

import openvino as ov

from runtime.backends.contract import METADATA_KEY, OUTPUT_SHAPES
from runtime.backends.litert_engine import passport_in
from runtime.backends.opening import open_backend
from runtime.backends.openvino_engine import read_model
from runtime.errors import UserError
from tests.conftest import INPUT_PX, tiny_passport
from tests.fixtures.tiny_tflite import write_tiny_tflite

IMAGE = np.full((1, 3, INPUT_PX, INPUT_PX), 0.5, np.float32)
MakeModel = Callable[..., Path]
Write = Callable[..., Path]
MODULES = {"xml": "openvino", "tflite": "ai_edge_litert.interpreter"}


@pytest.fixture(params=list(MODULES))
def suffix(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def write(suffix: str, make_model: MakeModel) -> Write:
    """Write the tiny model of all tests for an engine, with changes to the graph or the passport."""

    def write_ir(passport: Any = "", **changes: Any) -> Path:
        path = make_model(metadata=False, **changes)
        model = read_model(path)
        text = passport if isinstance(passport, str) and passport else json.dumps(tiny_passport() | (passport or {}))
        if passport is not None:
            model.set_rt_info(text, [METADATA_KEY])
        ov.save_model(model, path.with_suffix(".xml"), compress_to_fp16=False)
        return path.with_suffix(".xml")

    def write_tflite(**changes: Any) -> Path:
        return write_tiny_tflite(make_model().with_suffix(".tflite"), **changes)

    return write_ir if suffix == "xml" else write_tflite


def refused(path: Path, reason: str, device: str = "auto") -> None:
    with pytest.raises(UserError, match=reason) as error:
        open_backend(path, device)
    assert "\n" not in str(error.value)


def test_it_gives_what_onnxruntime_gives(write: Write, tiny_model: Path) -> None:
    path, reference = write(), open_backend(tiny_model)
    backend = open_backend(path, threads=1)
    assert backend.provider.startswith(("OpenVINO 20", "LiteRT 2")) and backend.info == reference.info
    found, expected = backend.run(IMAGE), reference.run(IMAGE)
    assert {name: value.shape for name, value in found.items()} == OUTPUT_SHAPES
    for name, value in found.items():
        assert value.dtype == np.float32
        assert_allclose(value, expected[name], atol=1e-6)
    kept = {name: value.copy() for name, value in found.items()}
    backend.run(np.zeros_like(IMAGE))
    for name, value in found.items():
        assert_array_equal(value, kept[name])  # they are the caller's
    with pytest.raises(UserError, match=r"cannot run .*tiny"):
        backend.run(IMAGE[0])
    for file in path.parent.glob("tiny.*"):
        file.write_bytes(b"")  # it is in memory
    assert_array_equal(backend.run(IMAGE)["camera"], kept["camera"])
    backend.close()
    with pytest.raises(ValueError, match="closed"):
        backend.run(IMAGE)


@pytest.mark.parametrize("suffix", ["xml"], indirect=True)
def test_less_than_fp32_is_asked_for(write: Write) -> None:
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for device, precision in (("cpu", "f32"), ("cpu-bf16", "bf16" if has_bf16 else "f32")):
        assert open_backend(write(), device).provider.split(", ")[-1] == precision


def test_what_does_not_fit(write: Write, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    refused(path, f"unknown device of .{suffix} files 'cuda'", "cuda")
    monkeypatch.setitem(sys.modules, MODULES[suffix], None)
    refused(path, "pip install (openvino|ai-edge-litert)")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"passport": None}, f"no '{METADATA_KEY}' metadata"),
        ({"passport": "{"}, "unusable"),
        ({"passport": {"input_px": 128}}, r"'image' is .*64.*, not .*128"),
        ({"input_name": "input"}, "takes 'input', not 'image'"),
        ({"drop_output": "presence"}, "does not give presence"),
    ],
)
def test_what_keeps_no_contract(write: Write, changes: dict[str, Any], reason: str) -> None:
    refused(write(**changes), reason)


def test_damaged_files(write: Write, suffix: str) -> None:
    path = write()
    whole = path.read_bytes()
    for content, reason in (
        (b"x" * 20, "no (OpenVINO|LiteRT) model"),
        (whole[: len(whole) // 2], "cannot load .*tiny"),
    ):
        path.write_bytes(content)
        refused(path, reason)
    if suffix == "xml":
        path.write_bytes(whole)
        weights = path.with_suffix(".bin")
        weights.write_bytes(weights.read_bytes()[:4])
        refused(path, "cannot load")
        weights.unlink()
        refused(path, r"tiny\.bin.*check the path")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_tflite(tmp_path_factory.mktemp("whole") / "tiny.tflite").read_bytes()


@given(data=st.data())
def test_a_damaged_passport_is_none_or_text(content: bytes, data: st.DataObject) -> None:
    changed = bytearray(content)
    for place in data.draw(st.lists(st.integers(8, len(content) - 1), min_size=1, max_size=8)):
        changed[place] = data.draw(st.integers(0, 255))
    assert isinstance(passport_in(bytes(changed[: data.draw(st.integers(8, len(content)))])), str | None)
