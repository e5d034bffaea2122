"""The sensors of electrical power of Jetsons (Nano to AGX Orin; Thor has others)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.devices.device_reader import read_number

TOTAL_RAIL = "VDD_IN"  # of Orin NX and Nano
SUM_OF_SHUNTS_CHANNEL = "7"  # no rail: it sums what the others have
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
