"""A small synthetic set in a cache of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from training.data.synth import ensure_synthetic


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """48 training and 48 validation images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ER_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        for split in ("train", "val"):
            root = ensure_synthetic(split, 48, workers=2, progress=False)
        yield root
