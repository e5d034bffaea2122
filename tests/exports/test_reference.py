"""Every shipped export against the committed reference: sizes, errors, speed."""

from __future__ import annotations

import pytest

from benchmarks.tools.reference import deviations, measure_exports, read_reference, shipped, small_set
from compress.check.advice import has_int8_dot_products

pytestmark = pytest.mark.slow


def test_exports_are_as_expected() -> None:
    reference = read_reference()
    with small_set():
        dataset, found = measure_exports(shipped())
    assert dataset == reference.dataset
    assert deviations(reference, found, has_int8_dot_products()) == []
