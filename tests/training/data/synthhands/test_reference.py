"""Any machine makes the same set from the same seed: labels to 1e-3 mm, pixels to the last bit or two."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures.synthetic_reference import FILE, make_reference

Reference = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def both() -> tuple[Reference, Reference]:
    """What this machine makes, and what is committed."""
    with np.load(FILE) as committed:
        return make_reference(), dict(committed)


def test_labels(both: tuple[Reference, Reference]) -> None:
    made, committed = both
    for key, most in (("joints_mm", 1e-3), ("fits", 1e-5), ("boxes", 1e-3)):
        assert np.abs(made[key] - committed[key]).max() < most


def test_pictures(both: tuple[Reference, Reference]) -> None:
    made, committed = both
    if made["pictures_sha256"] == committed["pictures_sha256"]:
        return
    difference = np.abs(made["pictures"].astype(int) - committed["pictures"].astype(int))
    assert made["pictures"].shape == committed["pictures"].shape
    assert difference.mean() < 0.1 and np.percentile(difference, 99.9) <= 2
