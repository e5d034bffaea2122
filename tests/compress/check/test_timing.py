"""Blocks in turn, ratios per round; with a clock that tests can turn."""

from __future__ import annotations

import pytest

from compress.check import timing


class Clock:
    """Each run takes as long as it says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def run(self, name: str, seconds: float):  # type: ignore[no-untyped-def]
        def one() -> None:
            self.order.append(name)
            self.now += seconds * (2 if len(self.order) > 400 else 1)  # the machine slows down on the way

        return one


def test_blocks_alternate_and_drift_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", clock.perf_counter)
    runs = {"fp32": clock.run("fp32", 0.010), "int8": clock.run("int8", 0.005)}
    latency, ratios = timing.time_alternately(runs, "fp32", rounds=8)
    blocks = [name for i, name in enumerate(clock.order) if i == 0 or clock.order[i - 1] != name]
    assert blocks == ["fp32", "int8"] * 8
    assert set(ratios) == {"int8"}
    assert ratios["int8"].median == pytest.approx(2.0) and ratios["int8"].rounds == 8
    assert latency["fp32"].p10 == pytest.approx(10) and latency["fp32"].p90 == pytest.approx(20)
    assert latency["int8"].runs > latency["fp32"].runs >= 8 * timing.MIN_RUNS
