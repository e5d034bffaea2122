"""OpenVINO's models in the runner: real ones, run by OpenVINO."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from runtime.backends.contract import METADATA_KEY, OUTPUT_SHAPES
from runtime.backends.opening import open_backend
from runtime.backends.openvino_engine import read_model
from runtime.errors import UserError
from tests.conftest import INPUT_PX, tiny_passport

ov = pytest.importorskip("openvino")
IMAGE = np.full((1, 3, INPUT_PX, INPUT_PX), 0.5, np.float32)
MakeModel = Callable[..., Path]


@pytest.fixture
def make_ir(make_model: MakeModel) -> MakeModel:
    """Write the tiny model of all tests as OpenVINO does, with changes to the graph or the passport."""

    def make(name: str = "tiny.xml", passport: Any = "", **changes: Any) -> Path:
        model = read_model(make_model(metadata=False, **changes))
        text = passport if isinstance(passport, str) and passport else json.dumps(tiny_passport() | (passport or {}))
        if passport is not None:
            model.set_rt_info(text, [METADATA_KEY])
        path = make_model().with_name(name)
        ov.save_model(model, path, compress_to_fp16=False)
        return path

    return make


def test_it_gives_what_onnxruntime_gives(make_ir: MakeModel, tiny_model: Path) -> None:
    path = make_ir()
    backend = open_backend(path, threads=1)
    assert backend.provider.startswith("OpenVINO 20") and backend.provider.endswith(", CPU, f32")
    assert backend.info == open_backend(tiny_model).info
    found, expected = backend.run(IMAGE), open_backend(tiny_model).run(IMAGE)
    assert {name: value.shape for name, value in found.items()} == OUTPUT_SHAPES
    for name, value in found.items():
        assert value.dtype == np.float32
        assert_allclose(value, expected[name], atol=1e-6)
    kept = {name: value.copy() for name, value in found.items()}
    backend.run(np.zeros_like(IMAGE))
    for name, value in found.items():
        assert_array_equal(value, kept[name])  # they are the caller's
    with pytest.raises(UserError, match="OpenVINO cannot run"):
        backend.run(IMAGE[..., :8])
    path.with_suffix(".bin").write_bytes(b"")  # it is in memory
    assert_array_equal(backend.run(IMAGE)["camera"], kept["camera"])
    backend.close()


def test_less_than_fp32_is_asked_for(make_ir: MakeModel) -> None:
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert open_backend(make_ir(), "cpu-bf16").provider.split(", ")[-1] == ("bf16" if has_bf16 else "f32")


def test_what_does_not_fit(make_ir: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_ir()
    with pytest.raises(UserError, match="unknown device of .* files 'cuda'"):
        open_backend(path, "cuda")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match="pip install openvino"):
        open_backend(path)


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
def test_what_keeps_no_contract(make_ir: MakeModel, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        open_backend(make_ir(**changes))
    assert "\n" not in str(error.value)


def test_damaged_files(make_ir: MakeModel) -> None:
    path = make_ir()
    whole, weights = path.read_bytes(), path.with_suffix(".bin")
    for content, reason in ((b"<x/>", "no OpenVINO model"), (whole[: len(whole) // 2], r"cannot load .*tiny\.xml")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason) as error:
            open_backend(path)
        assert "\n" not in str(error.value)
    path.write_bytes(whole)
    weights.write_bytes(weights.read_bytes()[:4])
    with pytest.raises(UserError, match="cannot load"):
        open_backend(path)
    weights.unlink()
    with pytest.raises(UserError, match=r"tiny\.bin.*check the path"):
        open_backend(path)
