"""A small synthetic set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import IMAGES
from training.data.synthhands import ensure_synthetic


@pytest.fixture(scope="session")
def synthetic_root(synthetic_cache: Path) -> Path:
    """48 images each of training, validation and test."""
    return ensure_synthetic("train", IMAGES)
