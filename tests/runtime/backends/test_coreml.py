"""Core ML packages in the runner: real ones, as far as Linux opens them; their predictions are made up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from runtime import load
from runtime.backends.contract import METADATA_KEY, OUTPUT_SHAPES
from runtime.backends.opening import open_backend
from runtime.errors import UserError
from tests.conftest import INPUT_PX, resting_outputs, tiny_passport

ct = pytest.importorskip("coremltools")
SHAPE = (1, 3, INPUT_PX, INPUT_PX)
IMAGE = np.zeros(SHAPE, np.float32)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("package") / "tiny.mlpackage")


def write(path: Path, image_input: bool = False, **changes: Any) -> Path:
    """The tiny model of all tests as a package, with changes to its passport."""
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS16)  # type: ignore[untyped-decorator]
    def program(image: Any) -> Any:
        nothing = mb.mul(x=mb.reduce_mean(x=image, axes=[0, 1, 2, 3], keep_dims=False), y=np.float32(0))
        return [mb.add(x=v.astype(np.float32), y=nothing, name=name) for name, v in resting_outputs().items()]

    options: dict[str, Any] = {"inputs": [ct.ImageType(name="image", shape=SHAPE)]} if image_input else {}
    precision, target = ct.precision.FLOAT32, ct.target.iOS16
    model = ct.convert(program, compute_precision=precision, minimum_deployment_target=target, **options)
    model.user_defined_metadata[METADATA_KEY] = json.dumps(tiny_passport() | changes)
    model.save(str(path))
    return path


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the package was opened with."""
    seen: dict[str, Any] = {}
    real = ct.models.MLModel

    def predict(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert {name: value.shape for name, value in inputs.items()} == {"image": SHAPE}
        return resting_outputs()

    def open_model(path: str, compute_units: Any) -> Any:
        seen["units"] = compute_units
        model = real(path, skip_model_load=True)
        metadata = model.user_defined_metadata
        return SimpleNamespace(get_spec=model.get_spec, user_defined_metadata=metadata, predict=predict)

    monkeypatch.setattr("runtime.backends.coreml.sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(ct.models, "MLModel", open_model)
    return seen


def test_it_gives_what_core_ml_gives(package: Path, on_a_mac: dict[str, Any]) -> None:
    backend = open_backend(package, "cpu")
    assert on_a_mac["units"] is ct.ComputeUnit.CPU_ONLY and backend.provider == "Core ML, CPU_ONLY"
    found = backend.run(IMAGE)
    assert {name: value.shape for name, value in found.items()} == OUTPUT_SHAPES
    for name, value in found.items():
        assert value.dtype == np.float32
        assert_allclose(value, resting_outputs()[name], rtol=1e-6)
    backend.close()
    with load(package) as runner:
        hands = runner(np.zeros((120, 100, 3), np.uint8), (0, 0, 100, 120))
    assert on_a_mac["units"] is ct.ComputeUnit.ALL and hands.present == (hands.right, hands.left)


def test_what_does_not_fit(package: Path, on_a_mac: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"unknown device of .* files 'cuda'"):
        open_backend(package, "cuda")
    with pytest.raises(UserError, match="threads has no effect"):
        open_backend(package, threads=2)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(UserError, match="pip install coremltools"):
        open_backend(package)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"on Apple's systems alone: here, give the \.onnx"):
        open_backend(package)


def test_what_core_ml_refuses(package: Path, on_a_mac: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Core ML cannot run"):
        open_backend(package).run(IMAGE[:, :2])
    monkeypatch.setattr(ct.models, "MLModel", lambda *_args, **_options: 1 / 0)
    with pytest.raises(UserError, match="Core ML cannot load"):
        open_backend(package)


def test_packages_of_others(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    picture = write(tmp_path / "picture.mlpackage", image_input=True)
    small = write(tmp_path / "small.mlpackage", input_px=128)
    request.getfixturevalue("on_a_mac")
    for path, reason in ((picture, "export it without --image-input"), (small, r"'image' is .*64.*, not .*128")):
        with pytest.raises(UserError, match=reason):
            open_backend(path)
