"""Shared by the tests of compress: er-nano as a float file, and one finished export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.export import export
from compress.onnx.to_onnx import write_onnx
from compress.request import ExportRequest
from tests.conftest import IMAGES
from training.network import build


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """er-nano as an fp32 file: untrained, but no two tensors alike, which onnxruntime would share."""
    torch.manual_seed(0)
    network = build("er-nano").eval()
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("nano") / "float.onnx"
    write_onnx(network, path)
    return path


@pytest.fixture(scope="session")
def small_request(tmp_path_factory: pytest.TempPathFactory, synthetic_cache: Path) -> ExportRequest:
    """An export that takes seconds: the smallest variant, untrained, a few images."""
    return ExportRequest(
        variant="er-nano",
        precision="int8",
        random_weights=True,
        calib_samples=IMAGES,
        test_images=IMAGES,
        max_drop_mm=5.0,
        output_dir=tmp_path_factory.mktemp("exports"),
    )


@pytest.fixture(scope="session")
def finished(small_request: ExportRequest) -> tuple[Path, dict[str, Any]]:
    """The folder of a finished export and its report entry."""
    entry = export(small_request)
    assert entry["verdict"]["status"] == "passed", entry["verdict"]
    return small_request.output_dir, entry
