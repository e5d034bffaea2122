"""Model files, good and bad."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose
from onnx import numpy_helper

from runtime.backends.contract import METADATA_KEY, OUTPUT_SHAPES
from runtime.backends.opening import open_backend
from runtime.errors import UserError

MakeModel = Callable[..., Path]


def refused(path: Path, reason: str, **options: object) -> None:
    with pytest.raises(UserError, match=reason) as error:
        open_backend(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_runs(make_model: MakeModel) -> None:
    backend = open_backend(make_model("TINY.ONNX"), threads=1)
    assert backend.provider == "CPUExecutionProvider"
    assert (backend.info.variant, backend.info.input_px) == ("er-s", 64)
    outputs = backend.run(np.full((1, 3, 64, 64), 0.5, np.float32))
    assert {name: value.shape for name, value in outputs.items()} == OUTPUT_SHAPES
    assert_allclose(outputs["camera"][0, :, 1], [0.35, 0.75], atol=1e-6)  # the image's mean moved it
    backend.close()


def test_paths(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, empty = tmp_path / "folder.onnx", tmp_path / "empty.onnx"
    folder.mkdir()
    empty.touch()
    refused(folder, "is a folder")
    refused(empty, "is empty")
    empty.write_bytes(b"not a model at all\nreally")
    refused(empty, r"cannot load .*empty\.onnx")
    refused(tmp_path / "none.onnx", "there is no model")
    refused(tmp_path / "model.bin", "suffix")
    refused(Path("a\0.onnx"), "model")
    refused(empty / "x.onnx", "model")
    package = tmp_path / "folder.mlpackage"
    package.mkdir()
    refused(package, "no Manifest")
    for name in ("Manifest.json", *map(str, range(100))):
        (package / name).touch()
    refused(package, "larger than any package")
    monkeypatch.setattr("runtime.backends.opening.MAX_MODEL_BYTES", 100)
    refused(tiny_model, "a model file at most 0")


def test_a_graph_that_asks_for_terabytes(tiny_model: Path, tmp_path: Path) -> None:
    proto = onnx.load(tiny_model)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20, 1 << 10]), "sizes"))
    proto.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["sizes"], ["added"]))
    onnx.save(proto, tmp_path / "huge.onnx")
    with pytest.raises(UserError, match=r"huge\.onnx") as error:
        open_backend(tmp_path / "huge.onnx").run(np.zeros((1, 3, 64, 64), np.float32))
    assert "\n" not in str(error.value)


def test_what_keeps_no_contract(make_model: MakeModel) -> None:
    refused(make_model(metadata=False), rf"no '{METADATA_KEY}' metadata.*compress/export\.py")
    refused(make_model(passport="{"), "unusable")
    refused(make_model(passport={"input_px": "64"}), "input_px")
    refused(make_model(input_name="input"), "takes 'input', not 'image'")
    refused(make_model(drop_output="presence"), "does not give presence")
    refused(make_model(input_px=96), r"'image' is .*96.*, not .*64")
    refused(make_model(outputs={"shape": np.zeros((1, 2, 11))}), "'shape' is .*11")


def test_devices(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for threads in (0, 1000, 1.5, "2"):
        refused(tiny_model, "threads", threads=threads)
    refused(tiny_model, "did you mean cuda", device="cudaa")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    refused(tiny_model, "no CUDAExecutionProvider", device="cuda")
    assert open_backend(tiny_model, device="cpu").provider == "CPUExecutionProvider"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(tiny_model, "pip install onnxruntime")


def test_a_silent_fallback_is_seen(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA build on a machine without CUDA falls back to the CPU without an error."""
    real = onnxruntime.InferenceSession

    def falls_back(path: str, options: object, providers: list[str]) -> object:
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    refused(tiny_model, "would run on CPUExecutionProvider", device="cuda")
    assert open_backend(tiny_model).provider == "CPUExecutionProvider"
