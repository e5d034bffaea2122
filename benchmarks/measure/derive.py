"""What follows from the rows of one run at one number of threads: ratios, shares of the limits, predictions' errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.measure.graph_cost import Layer
from benchmarks.measure.probes import PROBES
from benchmarks.measure.roofline import Ceilings, bounds, total_ms
from benchmarks.measure.stats import ratio
from benchmarks.records.record import Limit, Prediction, Ratio, Record

PROBE_OF_PRECISION = {"fp32": "fp32 products", "int8": "int8 products"}


def machine_limits(records: Sequence[Record]) -> dict[str, Limit]:
    """What the probes reached, by their names; those that were timed."""
    return {
        record.name: PROBES[record.name].limit(record.latency_ms.p50)
        for record in records
        if record.name in PROBES and record.latency_ms is not None
    }


def relative_times(record: Record, others: Sequence[Record]) -> dict[str, Ratio]:
    """The row's time over that of each other row of the same rounds."""
    if record.latency_ms is None:
        return {}
    own = np.array(record.latency_ms.blocks_p50)
    return {
        other.name: ratio(own, np.array(other.latency_ms.blocks_p50))
        for other in others
        if other.latency_ms is not None and other.name != record.name and len(other.latency_ms.blocks_p50) == len(own)
    }


def times_faster(record: Record, baseline: Record | None) -> Ratio | None:
    """Than the fp32 file of the same network; None for that file itself, or where one was not timed."""
    if baseline is None or baseline.name == record.name or not record.latency_ms or not baseline.latency_ms:
        return None
    return ratio(np.array(baseline.latency_ms.blocks_p50), np.array(record.latency_ms.blocks_p50))


def share_of_limit(record: Record, limits: Mapping[str, Limit]) -> Limit | None:
    """Of what the probe of the row's precision reached; a precision without a probe is computed in fp32 here."""
    probe = limits.get(PROBE_OF_PRECISION.get(record.artifact.precision or "fp32", "fp32 products"))
    if record.latency_ms is None or not record.artifact.gmac or probe is None or not probe.gflops:
        return None
    reached = 2 * record.artifact.gmac / (record.latency_ms.p50 / 1e3)
    return Limit(share_pct=100 * reached / probe.gflops)


def predict(
    record: Record, layers: Mapping[bool, Sequence[Layer]], ceilings: Sequence[Ceilings], this_machine: str
) -> list[Prediction]:
    """A lower bound per device. `layers`: of the row's files, by what engines fuse."""
    predictions = []
    for device in ceilings:
        bound_ms = total_ms(bounds(layers[device.fuses], device))
        measured = record.latency_ms.p50 if record.latency_ms and device.target == this_machine else None
        predictions.append(
            Prediction(
                target=device.target,
                lower_bound_ms=bound_ms,
                measured_by_predicted=None if measured is None else measured / bound_ms,
                launches_counted=device.launch_us is not None,
                sources=list(device.sources),
            )
        )
    return predictions


def with_delta(record: Record, baseline: Record | None) -> Record:
    """The row with what its accuracy lost to fp32 on the same images."""
    own, other = record.accuracy, None if baseline is None else baseline.accuracy
    comparable = own is not None and other is not None and own.mpjpe_mm is not None and other.mpjpe_mm is not None
    if not comparable or own is None or other is None:
        return record
    same = (own.dataset, own.protocol, own.n_images) == (other.dataset, other.protocol, other.n_images)
    if not same:
        return record
    delta = own.mpjpe_mm - other.mpjpe_mm  # type: ignore[operator]
    return replace(record, accuracy=replace(own, delta_vs_fp32_mm=delta))
