"""Which engine wins on a Jetson, and what speaks against the figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.devices.jetson.measure import Candidate, Measured, State
from benchmarks.devices.jetson.parity import TOLERANCE_MM
from benchmarks.measure.stats import block_medians, ratio
from benchmarks.records.record import Clocks

MAX_BLOCK_SPREAD_PCT = 5.0
MIN_DEVICE_SHARE = 0.6


@dataclass(frozen=True)
class Winner:
    """The fastest engine that computes what its file says; None where none does, or two cannot be told apart."""

    label: str | None
    sentence: str


def winner(measured: Measured) -> Winner:
    """By the time end to end, among engines whose parity holds."""
    sound = [c for c in measured.candidates if c.passed]
    if not sound:
        return Winner(None, "no engine gives the hands that onnxruntime gives: none can be used")
    medians = {c.plan.label: block_medians(c.end_to_end_ms) for c in sound}
    order = sorted(medians, key=lambda label: float(np.median(medians[label])))
    best = order[0]
    if len(order) == 1:
        return Winner(best, f"{best} is the only engine whose parity holds")
    faster = ratio(medians[order[1]], medians[best])
    interval = (
        f"{faster.median:.2f} times faster than {order[1]}, 95 % of resamples {faster.low:.2f} to {faster.high:.2f}"
    )
    if faster.low <= 1:
        return Winner(None, f"{best} and {order[1]} cannot be told apart: {best} is {interval}")
    return Winner(best, f"{best} wins: {interval}")


def doubts(measured: Measured) -> list[str]:
    """What speaks against the figures."""
    of_engines = [f"{c.plan.label}: {reason}" for c in measured.candidates for reason in engine_doubts(c)]
    return [*device_doubts(measured), *of_engines]


def device_doubts(measured: Measured) -> list[str]:
    """Of the device's state, which hits all engines."""
    found = []
    if clocks(measured).locked is not True:
        found.append("clocks were not locked: sudo jetson_clocks, then run again")
    before, after = measured.before.throttle_events, measured.after.throttle_events
    if before is not None and after is not None and after > before:
        found.append(f"the module was throttled {after - before} times meanwhile")
    if measured.power_mode is None:
        found.append("the power mode is unknown: nvpmodel -q did not answer")
    return found


def engine_doubts(candidate: Candidate) -> list[str]:
    """Of one engine."""
    found = []
    medians = block_medians(candidate.end_to_end_ms)
    spread = 100 * float(medians.std() / medians.mean())
    if spread > MAX_BLOCK_SPREAD_PCT:
        found.append(f"its blocks differ by {spread:.1f} %")
    busy = np.median(np.concatenate(candidate.device_ms)) / np.median(np.concatenate(candidate.end_to_end_ms))
    if busy < MIN_DEVICE_SHARE:
        found.append(f"the GPU computes in {100 * busy:.0f} % of the time, the rest is launching and copying")
    if not candidate.passed:
        tolerance_mm = TOLERANCE_MM[candidate.plan.precision]
        found.append(
            f"{candidate.parity.mean_mm:.3f} mm from onnxruntime on the same file, "
            f"more than {tolerance_mm}: do not use it"
        )
    return found


def energy_mj(candidate: Candidate) -> float | None:
    """Of a frame while frames follow each other: mean power x median time; None without a sensor."""
    if candidate.power is None:
        return None
    return candidate.power.mean * float(np.median(np.concatenate(candidate.end_to_end_ms)))


def shares(layers: dict[str, int]) -> dict[str, float]:
    """Counts -> parts of 1."""
    total = sum(layers.values())
    return {name: round(count / total, 4) for name, count in layers.items()} if total else {}


def clocks(measured: Measured) -> Clocks:
    """Lowest and highest before and after, and whether they could not move."""
    states = (measured.before.clocks, measured.after.clocks)
    cpu_hz = [clock["current"] for state in states for clock in state["cpu_hz"].values() if clock["current"]]
    gpu_hz = [state["gpu_hz"]["current"] for state in states if state["gpu_hz"]["current"]]
    locked = [state["locked"] for state in states]
    return Clocks(
        cpu_mhz=[min(cpu_hz) / 1e6, max(cpu_hz) / 1e6] if cpu_hz else [],
        gpu_mhz=[min(gpu_hz) / 1e6, max(gpu_hz) / 1e6] if gpu_hz else [],
        locked=None if None in locked else all(locked),
    )


def hottest(state: State) -> float | None:
    """The hottest sensor."""
    return max(state.temperatures_c.values(), default=None)
