"""Any machine makes the same set from the same seed: labels to 1e-3 mm, pixels to the last bit or two."""

from __future__ import annotations

import numpy as np

from tests.fixtures.synthetic_reference import FILE, make_reference


def test_this_machine_makes_what_is_committed() -> None:
    made = make_reference()
    with np.load(FILE) as file:
        committed = dict(file)
    for key, most in (("joints_mm", 1e-3), ("fits", 1e-5), ("boxes", 1e-3)):
        assert np.abs(made[key] - committed[key]).max() < most
    if made["pictures_sha256"] == committed["pictures_sha256"]:
        return
    difference = np.abs(made["pictures"].astype(int) - committed["pictures"].astype(int))
    assert made["pictures"].shape == committed["pictures"].shape
    assert difference.mean() < 0.1 and np.percentile(difference, 99.9) <= 2
