"""Sensors of electrical power of Jetsons. The first that finds its sensor is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.devices.device_reader import read_number
from runtime.backends.trt_api import l4t_release

TOTAL_RAIL = "VDD_IN"  # of Orin NX and Nano
SUM_OF_SHUNTS_CHANNEL = "7"  # no rail: it sums what the others have
_ROOT = Path("/")


@dataclass(frozen=True)
class PowerMeter:
    """A sensor."""

    source: str  # what is measured, by what: it stands in the record
    read_w: Callable[[], float | None]  # power now; None where the sensor did not answer


def find_meter(root: Path = _ROOT) -> PowerMeter | None:
    """Return the first sensor there is."""
    return find_rails(root) or find_jetson_stats(root)


def find_rails(root: Path = _ROOT) -> PowerMeter | None:
    """Find the INA3221 rails that together are a module's power: its total rail, or all of them.

    Orin NX and Nano have a total. AGX modules have none, and the sum leaves out the carrier board. Neither is what a
    meter at the plug shows.
    """
    rails = {}
    for label in sorted((root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*/in*_label")):
        name, channel = (
            label.read_text(encoding="utf-8", errors="replace").strip(),
            label.name[2:].removesuffix("_label"),
        )
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


def find_jetson_stats(root: Path = _ROOT) -> PowerMeter | None:
    """Connect to jetson-stats on a Jetson whose sensors are not the ones above (Thor), where its service runs."""
    if l4t_release(root) is None:
        return None
    try:
        from jtop import jtop  # optional: it is AGPL, and needs a service that root installs

        stats = jtop()
        stats.start()
        meter = PowerMeter("jetson-stats, its total", lambda: float(stats.power["tot"]["power"]) / 1000)
        meter.read_w()
    except Exception:  # no package, no service, no sensor: it has no class of errors for all of that
        return None
    return meter


def _rail_w(voltage: Path) -> float | None:
    millivolts, milliamps = read_number(voltage), read_number(voltage.with_name(f"curr{voltage.name[2:]}"))
    return None if millivolts is None or milliamps is None else millivolts * milliamps / 1e6
