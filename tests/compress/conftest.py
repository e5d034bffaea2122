"""Shared by the export tests: one finished export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compress.export import export
from compress.request import ExportRequest
from tests.conftest import IMAGES


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
