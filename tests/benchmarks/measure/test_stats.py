"""Intervals that hold what they should, and what speaks against a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.measure.doubt import Conditions, doubts
from benchmarks.measure.stats import drift_pct, median_interval, ratio, summarise
from benchmarks.records.record import Device, Ratio, Runtime

RUNTIME = Runtime("onnxruntime", "1", "CPUExecutionProvider", "CPUExecutionProvider", 1)
CALM = Conditions(0.02, 0.0, 3000.0)
JETSON = Device("a Jetson", jetpack="6", power_mode="MAXN")


def steady(blocks: int = 8, scatter: float = 0.01) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [5 * (1 + scatter * rng.uniform(-1, 1, 60)) for _ in range(blocks)]


def test_percentiles_of_known_runs() -> None:
    found = summarise([np.arange(1.0, 51.0), np.arange(51.0, 102.0)])  # 1 to 101
    assert (found.min, found.p50, found.p90, found.p99, found.max, found.mean) == (1, 51, 91, 100, 101, 51)
    assert found.std == pytest.approx(np.arange(1, 102).std(ddof=1))
    assert found.cv_pct == pytest.approx(100 * found.std / 51)
    assert found.blocks_p50 == [found.p50_low, found.p50_high] == [25.5, 76.0]


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    found = [median_interval(rng.normal(3.0, 1.0, 40)) for _ in range(200)]
    assert 0.88 <= np.mean([interval.low <= 3.0 <= interval.high for interval in found]) <= 0.99


def test_ratios_and_drift() -> None:
    drifting = np.array([1.0, 2.0, 4.0, 8.0])
    assert ratio(3 * drifting, drifting) == Ratio(3, 3, 3)  # round by round
    assert drift_pct(np.array([1, 1, 1, 1.0, 1.2, 1.2])) == pytest.approx(20)


@pytest.mark.parametrize(
    ("change_", "said"),
    [
        ({"blocks": steady(blocks=3)}, "few"),
        ({"blocks": steady(scatter=0.4)}, "noisy"),
        ({"blocks": [block * (1 + 0.02 * number) for number, block in enumerate(steady())]}, "drift"),
        ({"runtime": replace(RUNTIME, provider_requested="CUDAExecutionProvider")}, "fallback"),
        ({"block": replace(CALM, foreign_cores=0.5)}, "busy"),
        ({"block": replace(CALM, stolen_cores=0.1)}, "stolen"),
        ({"block": replace(CALM, cpu_mhz=2800.0)}, "frequency changed"),
        ({"device": replace(JETSON, power_mode=None)}, "power mode unknown"),
        ({"device": Device("a CPU")}, None),
    ],
)
def test_what_speaks_against_a_row(change_: dict[str, Any], said: str | None) -> None:
    latency, conditions = summarise(change_.get("blocks", steady())), [CALM, change_.get("block", CALM)]
    found = doubts(latency, conditions, change_.get("runtime", RUNTIME), change_.get("device", JETSON))
    assert {reason.split(":")[0] for reason in found} >= ({said} if said else set())
    assert bool(found) is (said is not None)
