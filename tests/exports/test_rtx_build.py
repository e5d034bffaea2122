"""Every variant in every precision parses and builds in a real TensorRT, without a GPU: build only, for an RTX GPU.

What older parsers lack is read off the graph: those of JetPack 6 and 7 lack nothing that a variant uses.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from compress.onnx.graph import Graph
from compress.onnx.lint import lint, tensorrt_operators
from compress.tensorrt.builder import check_build
from tests.fixtures.variant_files import PRECISIONS, write_variant
from training.network import VARIANTS

pytest.importorskip("tensorrt_rtx")
pytestmark = pytest.mark.slow

JETPACK_6 = (10, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("variants")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_parses_and_builds(variant: str, precision: str, folder: Path) -> None:
    path = write_variant(variant, precision, folder)
    check = check_build(path)
    assert (check.status, check.reasons) == ("passed", ())
    assert check.what.startswith("TensorRT for RTX") and "build only" in check.what
    model = onnx.load(path)
    if precision == "int8":
        assert lint(model, "trt", JETPACK_6) == ()
    assert list(tensorrt_operators(Graph(model), JETPACK_6)) == []
    print(f"\n{variant} {precision}: {check.build_seconds} s")
