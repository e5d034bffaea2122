"""LiteRT's models in the runner: a tiny one, run by LiteRT."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("ai_edge_litert")

from runtime import load
from runtime.backends.contract import METADATA_KEY, OUTPUT_SHAPES
from runtime.backends.litert_engine import passport_in
from runtime.backends.opening import open_backend
from runtime.errors import UserError
from tests.conftest import INPUT_PX
from tests.fixtures.tiny_tflite import write_tiny_tflite

IMAGE = np.full((1, 3, INPUT_PX, INPUT_PX), 0.5, np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_tflite(tmp_path / "tiny.tflite")


def test_it_gives_what_onnxruntime_gives(model: Path, tiny_model: Path) -> None:
    backend = open_backend(model, threads=1)
    assert backend.provider.startswith("LiteRT 2") and backend.info == open_backend(tiny_model).info
    found, expected = backend.run(IMAGE), open_backend(tiny_model).run(IMAGE)
    assert {name: value.shape for name, value in found.items()} == OUTPUT_SHAPES
    for name, value in found.items():
        assert value.dtype == np.float32
        assert_allclose(value, expected[name], atol=1e-6)
    kept = {name: value.copy() for name, value in found.items()}
    backend.run(np.zeros_like(IMAGE))
    for name, value in found.items():
        assert_array_equal(value, kept[name])  # they are the caller's
    with pytest.raises(UserError, match="LiteRT cannot run"):
        backend.run(IMAGE[0])
    model.write_bytes(b"")  # it is in memory
    assert_array_equal(backend.run(IMAGE)["camera"], kept["camera"])
    backend.close()
    with pytest.raises(ValueError, match="closed"):
        backend.run(IMAGE)


def test_in_the_runner(model: Path) -> None:
    with load(model, device="cpu", threads=1) as runner:
        hands = runner(np.zeros((120, 100, 3), np.uint8), (0, 0, 100, 120))
    assert hands.present == (hands.right, hands.left)


def test_what_does_not_fit(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown device of .* files 'cuda'"):
        open_backend(model, "cuda")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match="pip install ai-edge-litert"):
        open_backend(model)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"passport": None}, f"no '{METADATA_KEY}' metadata"),
        ({"passport": "{"}, "not JSON"),
        ({"passport": {"input_px": 128}}, r"'image' is .*64.*, not .*128"),
        ({"input_name": "input"}, "takes 'input', not 'image'"),
        ({"drop_output": "presence"}, "does not give presence"),
    ],
)
def test_what_keeps_no_contract(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        open_backend(write_tiny_tflite(tmp_path / "tiny.tflite", **changes))
    assert "\n" not in str(error.value)


def test_damaged_files(model: Path) -> None:
    whole = model.read_bytes()
    for content, reason in ((b"x" * 20, "no LiteRT model"), (whole[: len(whole) // 2], r"cannot load .*tiny\.tflite")):
        model.write_bytes(content)
        with pytest.raises(UserError, match=reason) as error:
            open_backend(model)
        assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_tflite(tmp_path_factory.mktemp("whole") / "tiny.tflite").read_bytes()


@given(data=st.data())
def test_a_damaged_passport_is_none_or_text(content: bytes, data: st.DataObject) -> None:
    changed = bytearray(content)
    for place in data.draw(st.lists(st.integers(8, len(content) - 1), min_size=1, max_size=8)):
        changed[place] = data.draw(st.integers(0, 255))
    assert isinstance(passport_in(bytes(changed[: data.draw(st.integers(8, len(content)))])), str | None)
