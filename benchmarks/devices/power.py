"""Electrical power while candidates run, by the sensors of Jetsons (INA3221: Nano to AGX Orin; Thor has others)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.devices.device_reader import read_number
from benchmarks.records.record import PowerW

TOTAL_RAIL = "VDD_IN"  # of Orin NX and Nano
SUM_OF_SHUNTS_CHANNEL = "7"  # no rail: it sums what the others have
PERIOD_S = 0.1
_ROOT = Path("/")


@dataclass(frozen=True)
class PowerMeter:
    """Rails that together are a module's power, and their readings by the name of the candidate that ran."""

    source: str  # what is measured, by what: it stands in the record
    rails: tuple[Path, ...]
    readings: dict[str, list[float]] = field(default_factory=dict)

    def read_w(self) -> float | None:
        """Return the power now; None where a sensor does not answer."""
        watts = [_rail_w(voltage) for voltage in self.rails]
        return None if None in watts else sum(power for power in watts if power is not None)

    @contextmanager
    def during(self, name: str, period_s: float = PERIOD_S) -> Iterator[None]:
        """Read in the background until the block ends, and once at its end."""
        readings, done = self.readings.setdefault(name, []), threading.Event()

        def keep_reading() -> None:
            more = True
            while more:
                more = not done.wait(period_s)
                readings.extend(power for power in [self.read_w()] if power is not None)

        reader = threading.Thread(target=keep_reading, daemon=True)
        reader.start()
        try:
            yield
        finally:
            done.set()
            reader.join()

    def result(self, name: str) -> PowerW | None:
        """Return the power of one candidate; None where the sensor never answered."""
        readings = self.readings.get(name)
        return PowerW(sum(readings) / len(readings), max(readings), self.source) if readings else None


def find_meter(root: Path = _ROOT) -> PowerMeter | None:
    """Find a module's total rail, or all rails (AGX modules): neither is what a meter at the plug shows."""
    rails = {}
    for label in sorted((root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*/in*_label")):
        name = label.read_text(encoding="utf-8", errors="replace").strip()
        channel = label.name[2:].removesuffix("_label")
        voltage = label.with_name(f"in{channel}_input")
        if name and "NC" not in name and channel != SUM_OF_SHUNTS_CHANNEL and _rail_w(voltage) is not None:
            rails[name] = voltage
    if TOTAL_RAIL in rails:
        return PowerMeter(f"INA3221, rail {TOTAL_RAIL}: the module", (rails[TOTAL_RAIL],))
    source = f"INA3221, sum of {' + '.join(rails)}: the module's rails, without the carrier board"
    return PowerMeter(source, tuple(rails.values())) if rails else None


def _rail_w(voltage: Path) -> float | None:
    millivolts, milliamps = read_number(voltage), read_number(voltage.with_name(f"curr{voltage.name[2:]}"))
    return None if millivolts is None or milliamps is None else millivolts * milliamps / 1e6
