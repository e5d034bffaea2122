"""Electrical power while candidates run, by the sensors of Jetsons (Nano to AGX Orin; Thor has others)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.devices.device_reader import read_number
from benchmarks.records.record import PowerW

TOTAL_RAIL = "VDD_IN"  # of Orin NX and Nano
SUM_OF_SHUNTS_CHANNEL = "7"  # no rail: it sums what the others have
PERIOD_S = 0.1
IDLE_SECONDS = 2.0
_ROOT = Path("/")


@dataclass(frozen=True)
class PowerMeter:
    """A sensor."""

    source: str  # what is measured, by what: it stands in the record
    read_w: Callable[[], float | None]  # power now; None where the sensor did not answer


def find_meter(root: Path = _ROOT) -> PowerMeter | None:
    """Find the INA3221 rails that together are a module's power: its total rail, or all of them.

    Orin NX and Nano have a total. AGX modules have none, and the sum leaves out the carrier board. Neither is what a
    meter at the plug shows.
    """
    rails = {}
    for label in sorted((root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*/in*_label")):
        name = label.read_text(encoding="utf-8", errors="replace").strip()
        channel = label.name[2:].removesuffix("_label")
        voltage = label.with_name(f"in{channel}_input")
        if name and "NC" not in name and channel != SUM_OF_SHUNTS_CHANNEL and _rail_w(voltage) is not None:
            rails[name] = voltage
    if TOTAL_RAIL in rails:
        return PowerMeter(f"INA3221, rail {TOTAL_RAIL}: the module", lambda: _rail_w(rails[TOTAL_RAIL]))
    source = f"INA3221, sum of {' + '.join(rails)}: the module's rails, without the carrier board"

    def read_sum() -> float | None:
        watts = [power for voltage in rails.values() if (power := _rail_w(voltage)) is not None]
        return sum(watts) if len(watts) == len(rails) else None

    return PowerMeter(source, read_sum) if rails else None


def _rail_w(voltage: Path) -> float | None:
    millivolts, milliamps = read_number(voltage), read_number(voltage.with_name(f"curr{voltage.name[2:]}"))
    return None if millivolts is None or milliamps is None else millivolts * milliamps / 1e6


class PowerLog:
    """Readings of one meter, by the name of the candidate that ran."""

    def __init__(self, meter: PowerMeter, period_s: float = PERIOD_S) -> None:
        self._meter = meter
        self._period_s = period_s
        self._idle: list[float] = []
        self._readings: dict[str, list[float]] = {}

    def measure_idle(self, seconds: float = IDLE_SECONDS) -> None:
        """Read while nothing of this process runs."""
        for _ in range(max(1, round(seconds / self._period_s))):
            time.sleep(self._period_s)
            self._keep(self._idle)

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Read in the background until the block ends, and once at its end."""
        readings = self._readings.setdefault(name, [])
        done = threading.Event()

        def keep_reading() -> None:
            while not done.wait(self._period_s):
                self._keep(readings)

        reader = threading.Thread(target=keep_reading, daemon=True)
        reader.start()
        try:
            yield
        finally:
            done.set()
            reader.join()
            self._keep(readings)

    def result(self, name: str) -> PowerW | None:
        """Return the power of one candidate; None where the sensor never answered."""
        readings = self._readings.get(name)
        if not readings:
            return None
        idle = sum(self._idle) / len(self._idle) if self._idle else None
        return PowerW(idle, sum(readings) / len(readings), max(readings), self._meter.source)

    def _keep(self, readings: list[float]) -> None:
        power_w = self._meter.read_w()
        if power_w is not None:
            readings.append(power_w)
