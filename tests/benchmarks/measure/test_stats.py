"""Intervals that hold what they should, and what speaks against a row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.measure.conditions import Conditions
from benchmarks.measure.doubt import doubts
from benchmarks.measure.stats import change, drift_pct, mean_interval, median_interval, ratio, summarise
from benchmarks.records.record import Runtime

RUNTIME = Runtime("onnxruntime", "1", "CPUExecutionProvider", "CPUExecutionProvider", 1)


def steady(p50_ms: float = 5.0, blocks: int = 8, scatter: float = 0.01) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [p50_ms * (1 + scatter * rng.uniform(-1, 1, 60)) for _ in range(blocks)]


def test_percentiles_of_known_runs() -> None:
    found = summarise([np.arange(1.0, 51.0), np.arange(51.0, 102.0)])  # 1 to 101
    assert (found.min, found.p50, found.p90, found.p99, found.max, found.mean) == (1, 51, 91, 100, 101, 51)
    assert found.std == pytest.approx(np.arange(1, 102).std(ddof=1))
    assert found.cv_pct == pytest.approx(100 * found.std / 51)
    assert found.blocks_p50 == [25.5, 76.0]
    assert found.p50_low == 25.5 and found.p50_high == 76.0


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        interval = mean_interval(rng.normal(3.0, 1.0, 40))
        covered += interval.low <= 3.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_ratios_are_round_by_round() -> None:
    drifting = np.array([1.0, 2.0, 4.0, 8.0])
    found = ratio(3 * drifting, drifting)
    assert (found.median, found.low, found.high) == (3, 3, 3)


def test_changes() -> None:
    old = 5 * (1 + 0.01 * np.random.default_rng(2).uniform(-1, 1, 12))
    same, other = change(old, old[::-1]), change(old, 1.2 * old)
    assert same.low < 0 < same.high and same.estimate == 0
    assert other.low > 0.18 and other.high < 0.22 and other.estimate == pytest.approx(0.2)
    assert median_interval(np.array([2.0])) == median_interval(np.array([2.0, 2.0]))
    assert drift_pct(np.array([1, 1, 1, 1.0, 1.2, 1.2])) == pytest.approx(20)


CALM = Conditions(1.0, 0.02, 0.0, 3000.0, None, 50.0, False)


@pytest.mark.parametrize(
    ("blocks", "runtime", "said"),
    [
        (steady(), RUNTIME, []),
        (steady(blocks=3), RUNTIME, ["few: 3 blocks"]),
        (steady(scatter=0.4), RUNTIME, ["scatter by"]),
        ([b * (1 + 0.02 * i) for i, b in enumerate(steady())], RUNTIME, ["drift: the last blocks are"]),
        (steady(), replace(RUNTIME, provider_requested="CUDAExecutionProvider"), ["fallback: CUDA"]),
    ],
)
def test_what_speaks_against_a_row(blocks: list[np.ndarray], runtime: Runtime, said: list[str]) -> None:
    found = doubts(summarise(blocks), [CALM], runtime)
    assert bool(found) is bool(said)
    for words in said:
        assert any(words in reason for reason in found), found


@pytest.mark.parametrize(
    ("change_", "said"),
    [
        ({}, None),
        ({"throttled": True}, "throttled"),
        ({"foreign_cores": 0.5}, "busy: other processes took 0.3 cores"),
        ({"stolen_cores": 0.1}, "stolen: the hypervisor took 0.05 cores"),
        ({"cpu_mhz": 2800.0}, "frequency changed: CPU 2800 to 3000 MHz"),
        ({"foreign_cores": None, "stolen_cores": None, "cpu_mhz": None, "throttled": None}, None),
    ],
)
def test_what_the_machine_did(change_: dict[str, float | bool | None], said: str | None) -> None:
    found = doubts(summarise(steady()), [CALM, replace(CALM, **change_)], RUNTIME)
    assert bool(found) is (said is not None)
    assert said is None or said in found[0]
