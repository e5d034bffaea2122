"""Any machine makes the same set from the same seed: labels to 1e-3 mm, pixels to the last bit or two."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FIXTURE = Path(__file__).parents[3] / "fixtures" / "synthetic_reference.py"


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What this machine makes, and what is committed."""
    spec = importlib.util.spec_from_file_location("synthetic_reference", FIXTURE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with np.load(module.FILE) as committed:
        return module.make_reference(), dict(committed)


def test_labels(both: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    made, committed = both
    if made["labels_sha256"] == committed["labels_sha256"]:
        return
    assert np.abs(made["joints_mm"] - committed["joints_mm"]).max() < 1e-3
    assert np.abs(made["fits"] - committed["fits"]).max() < 1e-5
    assert np.abs(made["boxes"] - committed["boxes"]).max() < 1e-3


def test_pictures(both: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    made, committed = both
    if made["pictures_sha256"] == committed["pictures_sha256"]:
        return
    difference = np.abs(made["pictures"].astype(int) - committed["pictures"].astype(int))
    assert made["pictures"].shape == committed["pictures"].shape
    assert difference.mean() < 0.1 and np.percentile(difference, 99.9) <= 2
