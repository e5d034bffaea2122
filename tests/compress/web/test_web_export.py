"""The page's folder: what is in it, that its JavaScript computes what Python does, and what a failure says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.devices.shipped_crops import shipped_crops
from compress.export import export
from compress.export_report import print_result
from compress.request import ExportRequest
from compress.web.engine_package import ONNXRUNTIME, package
from compress.web.node_backend import NodeBackend
from compress.web.web_format import TOLERANCE_MM, TOLERANCE_PX, check_page
from runtime.backends.contract import ModelInfo
from runtime.backends.opening import open_backend
from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.hand.hand_model import load_hand_models
from runtime.runner import graph_input
from tests.conftest import INPUT_PX

HANDS = load_hand_models()
MOST_BYTES = 20_000_000  # of er-xs as int8, whose model is 7.5 MB smaller than this one
SMALLER_INT8 = 7_500_000


@pytest.mark.slow
def test_its_javascript_computes_what_python_does(page: Path, info: ModelInfo) -> None:
    parity = check_page(page, info, HANDS, shipped_crops(224)[:16])
    assert parity["vertex_mm"] <= TOLERANCE_MM and parity["projection_px"] <= TOLERANCE_PX
    assert parity["vertex_mm"] > 0  # two programs, not one


@pytest.mark.slow
def test_wasm_computes_what_onnxruntime_does(page: Path, info: ModelInfo) -> None:
    from runtime.backends.session import open_session

    image = graph_input(shipped_crops(224)[0])
    backend, session = NodeBackend(page, info), open_session(page / "model.onnx")
    outputs = backend.run(image)
    for name, expected in zip(
        [o.name for o in session.get_outputs()], session.run(None, {"image": image}), strict=True
    ):
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-3, atol=1e-3)
    backend.close()


def test_litert_js_computes_what_litert_does(litert_page: Path) -> None:
    litert = open_backend(litert_page / "model.tflite")
    backend = NodeBackend(litert_page, litert.info)
    for share in (0.5, 1.0):
        image = np.full((1, 3, INPUT_PX, INPUT_PX), share, np.float32)
        found = backend.run(image)
        for name, expected in litert.run(image).items():
            np.testing.assert_allclose(found[name], expected, atol=1e-6)
    backend.close()
    facts = json.loads((litert_page / "model.json").read_text(encoding="utf-8"))["litert"]
    assert facts["artifact"]["sha256"] == file_sha256(litert_page / "model.tflite")
    assert not (litert_page / "ort" / "ort.wasm.min.js").exists()


@pytest.mark.slow
def test_a_wrong_page_is_found_and_a_broken_one_says_why(page: Path, info: ModelInfo, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(page, tmp_path / "wrong"))
    code = (folder / "hands.js").read_text(encoding="utf-8")
    (folder / "hands.js").write_text(code.replace("crop.x + ((cells", "1 + ((cells").replace("4 === 0)", "4 === 1)"))
    parity = check_page(folder, info, HANDS, shipped_crops(224)[:1])
    assert parity["vertex_mm"] > TOLERANCE_MM and parity["projection_px"] > TOLERANCE_PX
    (folder / "hands.js").write_text("throw new Error('broken here')")
    with pytest.raises(RuntimeError, match="broken here"):
        check_page(folder, info, HANDS, shipped_crops(224)[:1])


def test_all_is_in_the_folder(page: Path) -> None:
    names = {path.relative_to(page).as_posix() for path in page.rglob("*")}
    assert names >= {"index.html", "app.js", "model.onnx", "model.json", "hand.json", "palm_detector.onnx"}
    assert names >= {"LICENSE-hand-CC0.txt", "LICENSE-onnxruntime-web.txt", "NOTICE-palm-detector.txt"}
    assert sum(path.stat().st_size for path in page.rglob("*")) < MOST_BYTES + SMALLER_INT8
    sources = [path.read_text(encoding="utf-8") for path in page.glob("*.[hjc]*s*") if path.name != "hand.json"]
    assert not [text for text in sources if "http://" in text or "https://" in text]  # nothing from elsewhere


@pytest.mark.slow
def test_an_export_ends_with_a_verdict_and_its_page_has_the_exported_model(
    engine: None, small_request: ExportRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = replace(small_request, random_weights=False, formats=("onnx", "web"), output_dir=tmp_path)
    entry = export(request)
    assert entry["formats"]["web"]["status"] == "passed", entry["formats"]["web"]
    folder = tmp_path / "er-nano_160_int8.web"
    page = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    sha256 = file_sha256(tmp_path / "er-nano_160_int8.onnx")
    assert page["artifact"]["sha256"] == sha256 == file_sha256(folder / "model.onnx")
    assert page["accuracy"]["n_images"] == request.test_images and page["accuracy"]["synthetic"]
    passport = json.loads((tmp_path / "er-nano_160_int8.web.json").read_text(encoding="utf-8"))
    assert passport["sha256"] == sha256 and passport["parity"]["vertex_mm"] <= TOLERANCE_MM
    print_result(entry, tmp_path)
    assert "web: passed" in capsys.readouterr().out


def test_without_npm_or_with_another_package_it_is_said_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"npm is missing.*install Node\.js, or put https://.* by hand"):
        package(ONNXRUNTIME)
    path = tmp_path / "npm" / "onnxruntime-web-1.30.0.tgz"
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="was not the package of that name"):
        package(ONNXRUNTIME)
    assert not path.exists()
    (tmp_path / "npm").rmdir()
    (tmp_path / "npm").touch()
    with pytest.raises(UserError, match="cannot write to the cache"):
        package(ONNXRUNTIME)
