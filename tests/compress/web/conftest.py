"""A page with the shipped er-xs, made once; skipped where there is no node, or its package cannot be had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compress.onnx.to_onnx import write_onnx
from compress.web import engine_package
from compress.web.web_format import write_page
from runtime.backends.contract import ModelInfo, parse_passport
from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from tests.conftest import tiny_passport, write_tiny_model
from training.checkpoint import load_network, weights_of
from training.data.cache import CACHE_VARIABLE, cache_dir

CACHE = cache_dir()  # the user's, before other tests take one of their own


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """The engine's package is there, from the user's cache or by npm, whatever cache a test has."""
    if shutil.which("node") is None:
        pytest.skip("no node: apt install nodejs npm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(CACHE))
        try:
            paths = {one: engine_package.package(one) for one in engine_package.PACKAGES}
        except UserError as error:
            pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_package, "package", paths.__getitem__)
        yield


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """The passport of er-xs as fp32."""
    heatmap = {"depth": 7, "height": 7, "width": 7, "depth_range_m": 0.4}
    own = {"variant": "er-xs", "input_px": 224, "opset": 17, "parameters_m": 2.6, "gmac": 0.23, "heatmap": heatmap}
    return tiny_passport() | own


@pytest.fixture(scope="session")
def info(facts: dict[str, Any]) -> ModelInfo:
    return parse_passport(json.dumps(facts), "er-xs")


@pytest.fixture(scope="session")
def page(engine: None, facts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; not to be changed."""
    folder = tmp_path_factory.mktemp("page")
    model = folder / "er-xs_224_fp32.onnx"
    write_onnx(load_network(weights_of("er-xs"), "er-xs")[0], model)
    write_page(folder / "er-xs.web", model, facts, load_hand_models())
    return folder / "er-xs.web"


@pytest.fixture(scope="session")
def litert_page(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with LiteRT.js, around tiny models of resting hands; not to be changed."""
    pytest.importorskip("ai_edge_litert")
    from tests.fixtures.tiny_tflite import write_tiny_tflite

    folder = tmp_path_factory.mktemp("litert")
    litert, model = write_tiny_tflite(folder / "tiny.tflite"), write_tiny_model(folder / "tiny.onnx")
    made = tiny_passport() | {"opset": 17, "parameters_m": 0.0, "gmac": 0.0}
    write_page(folder / "tiny.web", model, made, load_hand_models(), litert)
    return folder / "tiny.web"
