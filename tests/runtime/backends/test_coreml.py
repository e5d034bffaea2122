"""Core ML packages in the runner: real ones, whose predictions the project's evaluator makes in place of a Mac."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime import load
from runtime.backends.contract import INPUT_NAME, OUTPUT_SHAPES
from runtime.backends.coreml import CoreMLBackend, check_package
from runtime.backends.opening import open_backend
from runtime.errors import UserError
from tests.conftest import tiny_passport
from training.network import ERNet, build

ct = pytest.importorskip("coremltools")
IMAGE = np.random.default_rng(0).uniform(size=(1, 3, 160, 160)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> ERNet:
    import torch

    torch.manual_seed(0)
    return build("er-nano").eval()


@pytest.fixture(scope="module")
def package(network: ERNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(network, tmp_path_factory.mktemp("package") / "nano.mlpackage")


def write(network: ERNet, path: Path, image_input: bool = False, passport: dict[str, Any] | None = None) -> Path:
    from compress.coreml.convert import PackageOptions, write_package
    from compress.coreml.package import embed

    write_package(network, path, "fp32", PackageOptions(image_input=image_input))
    embed(path, tiny_passport() | {"input_px": 160} if passport is None else passport)
    return path


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the package was opened with; predictions come from the evaluator."""
    from compress.coreml.evaluator import Evaluator

    seen: dict[str, Any] = {}
    real = ct.models.MLModel

    def open_model(path: str, compute_units: Any) -> Any:
        seen["units"] = compute_units
        model = real(path, skip_model_load=True)
        evaluator = Evaluator(Path(path))
        return SimpleNamespace(
            get_spec=model.get_spec, user_defined_metadata=model.user_defined_metadata, predict=evaluator
        )

    monkeypatch.setattr("runtime.backends.coreml.sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(ct.models, "MLModel", open_model)
    return seen


def test_it_gives_what_the_network_gives(package: Path, network: ERNet, on_a_mac: dict[str, Any]) -> None:
    import torch

    backend = open_backend(package, "cpu")
    assert on_a_mac["units"] is ct.ComputeUnit.CPU_ONLY and backend.provider == "Core ML, CPU_ONLY"
    with torch.no_grad():
        expected = network(torch.from_numpy(IMAGE))
    found = backend.run(IMAGE)
    assert {name: value.shape for name, value in found.items()} == OUTPUT_SHAPES
    for name, value in found.items():
        assert np.abs(value - getattr(expected, name).numpy()).max() < 1e-4
    backend.close()
    with pytest.raises(ValueError, match="closed"):
        backend.run(IMAGE)


def test_the_runner_takes_it(package: Path, on_a_mac: dict[str, Any]) -> None:
    with load(package) as runner:
        hands = runner(np.zeros((120, 100, 3), np.uint8))
    assert on_a_mac["units"] is ct.ComputeUnit.ALL
    assert [hand.vertices.shape for hand in (hands.right, hands.left)] == [(778, 3)] * 2


def test_options_that_do_not_fit(package: Path, on_a_mac: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="unknown device 'cuda'"):
        open_backend(package, "cuda")
    with pytest.raises(UserError, match="threads has no effect"):
        open_backend(package, threads=2)


def test_not_on_a_mac(package: Path) -> None:
    with pytest.raises(UserError, match=r"on Apple's systems alone: here, give the \.onnx"):
        open_backend(package)


def test_without_coremltools(package: Path, on_a_mac: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(UserError, match="pip install coremltools"):
        open_backend(package)


def test_what_core_ml_refuses(package: Path, on_a_mac: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(package)
    with pytest.raises(UserError, match="Core ML cannot run"):
        backend.run(IMAGE[:, :2])
    monkeypatch.setattr(ct.models, "MLModel", lambda *_args, **_options: 1 / 0)
    with pytest.raises(UserError, match="Core ML cannot load"):
        open_backend(package)


@pytest.fixture(scope="module")
def others(network: ERNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("others")
    write(network, folder / "picture.mlpackage", image_input=True)
    write(network, folder / "bad.mlpackage", passport={"variant": 3})
    write(network, folder / "small.mlpackage", passport=tiny_passport() | {"input_px": 128})
    return folder


def test_packages_of_others(others: Path, on_a_mac: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="export it without --image-input"):
        open_backend(others / "picture.mlpackage")
    with pytest.raises(UserError, match="unusable 'er_edge' metadata"):
        open_backend(others / "bad.mlpackage")
    with pytest.raises(UserError, match="is not float32"):
        open_backend(others / "small.mlpackage")


def test_names_that_are_not_the_contracts(
    package: Path, on_a_mac: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.backends.coreml.INPUT_NAME", INPUT_NAME + "s")
    with pytest.raises(UserError, match="does not take and give"):
        CoreMLBackend(package, "auto", None)


def test_folders_that_are_none(tmp_path: Path, package: Path) -> None:
    with pytest.raises(UserError, match="there is no model"):
        open_backend(tmp_path / "none.mlpackage")
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(UserError, match="no Manifest"):
        open_backend(tmp_path / "empty.mlpackage")
    (tmp_path / "file.mlpackage").write_text("text")
    with pytest.raises(UserError, match="no Manifest"):
        open_backend(tmp_path / "file.mlpackage")
    with pytest.raises(UserError, match="larger than any package"):
        check_package(package, 1000)
    crowded = tmp_path / "crowded.mlpackage"
    crowded.mkdir()
    (crowded / "Manifest.json").write_text(json.dumps({}))
    for number in range(101):
        (crowded / str(number)).touch()
    with pytest.raises(UserError, match="larger than any package"):
        check_package(crowded, 1 << 30)
