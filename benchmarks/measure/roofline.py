"""A lower bound of a network's time on a device, layer by layer: by its roofline, not by measurement.

Each layer takes as long as its arithmetic at the device's best rate or as its bytes at the best bandwidth, whichever is
longer, and one launch. Real networks of this size stay above that: on a GPU, small layers never fill it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure import probes
from benchmarks.measure.graph_cost import Layer
from benchmarks.records.record import Limit
from targets import Target

NOTE = "lower bound, not a measurement"


@dataclass(frozen=True)
class Ceilings:
    """What a device can do at most."""

    target: str
    gflops: Mapping[str, float]  # of products, by precision; a multiply-accumulate is two operations
    other_gflops: float  # of all other arithmetic
    gb_s: float
    launch_us: Mapping[str, float] | None  # by precision of products; None: nobody knows, launches are not counted
    fuses: bool  # see benchmarks.measure.graph_cost
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Bound:
    """Of one layer."""

    layer: Layer
    arithmetic_ms: float
    memory_ms: float
    launch_ms: float

    @property
    def ms(self) -> float:
        """The bound."""
        return max(self.arithmetic_ms, self.memory_ms) + self.launch_ms


def bounds(layers: Sequence[Layer], ceilings: Ceilings) -> list[Bound]:
    """Of each layer. A precision that the device does not compute in runs at fp32's rate."""
    result = []
    for layer in layers:
        products = 2 * layer.products / ceilings.gflops.get(layer.precision, ceilings.gflops["fp32"])
        other = (2 * layer.depthwise + layer.flops) / ceilings.other_gflops
        launches_us = ceilings.launch_us or {"fp32": 0.0}
        launch_ms = launches_us.get(layer.precision, launches_us["fp32"]) / 1e3
        result.append(Bound(layer, (products + other) / 1e6, layer.bytes / ceilings.gb_s / 1e6, launch_ms))
    return result


def total_ms(parts: Sequence[Bound]) -> float:
    """Of all layers, one after the other."""
    return sum(part.ms for part in parts)


def ceilings_of(target: Target) -> Ceilings | str:
    """Of a device profile; the reason where the profile knows too little."""
    peaks = target.peaks
    if peaks.fp32_gflops is None or peaks.memory_gb_s is None:
        missing = [name for name in ("fp32_gflops", "memory_gb_s") if getattr(peaks, name) is None]
        return f"the profile {target.name} has no {' and no '.join(missing)}"
    known = {"fp32": peaks.fp32_gflops, "fp16": peaks.fp16_gflops, "int8": peaks.int8_gops}
    figures = [figure for figure in (*known.values(), peaks.memory_gb_s) if figure is not None]
    mode = f"@{target.power_mode.name}" if target.power_mode else ""
    return Ceilings(
        target=f"{target.name}{mode}",
        gflops={name: figure.value for name, figure in known.items() if figure is not None},
        other_gflops=peaks.fp32_gflops.value,
        gb_s=peaks.memory_gb_s.value,
        launch_us=None,
        fuses=target.kind != "cpu",
        sources=tuple(dict.fromkeys(figure.source for figure in figures)),
    )


def measured_ceilings(limits: Mapping[str, Limit], target: str, threads: int) -> Ceilings:
    """Of this machine, from its probes."""
    fp32, int8, other, memory, launch, int8_launch = (limits[name] for name in probes.PROBES)
    assert fp32.gflops and int8.gflops and other.gflops and memory.gb_s and launch.us and int8_launch.us
    return Ceilings(
        target=target,
        gflops={"fp32": fp32.gflops, "int8": int8.gflops},
        other_gflops=other.gflops,
        gb_s=memory.gb_s,
        launch_us={"fp32": launch.us, "int8": int8_launch.us},
        fuses=False,
        sources=(f"probes of this machine in the same run, {threads} threads",),
    )
