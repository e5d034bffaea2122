"""Sensors of electrical power: one finder per kind in METERS; the first that finds its sensor is used.

A finder is a function of the file system's root that gives a PowerMeter, or None where its sensor is not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runtime.backends.trt_api import l4t_release

TOTAL_RAILS = ("VDD_IN", "POM_5V_IN")  # Orin NX and Nano, Xavier NX; Nano, TX2
SUM_OF_SHUNTS_CHANNEL = "7"  # no rail: it sums what the others have
_ROOT = Path("/")


class PowerMeter(Protocol):
    """A sensor."""

    @property
    def source(self) -> str:
        """What is measured, by what: it stands in the record."""

    def read_w(self) -> float | None:
        """Power now, or since the last reading; None where the sensor did not answer."""


class RaplMeter:
    """Energy counters of x86 CPUs (packages, without memory and board). Most systems let only root read them."""

    source = "RAPL, CPU packages"

    def __init__(self, counters: dict[Path, int], clock: Callable[[], float] = time.perf_counter) -> None:
        """Take the counters' files, each with the µJ after which it starts from 0 again, and a clock of seconds."""
        self._counters, self._clock = counters, clock
        self._last, self._time_s = self._energies_uj(), clock()

    def read_w(self) -> float | None:
        """Return the mean power since the last reading."""
        before, before_s = self._last, self._time_s
        self._last, self._time_s = now, now_s = self._energies_uj(), self._clock()
        if before is None or now is None or now_s <= before_s:
            return None
        used = ((b - a) % (most + 1) for a, b, most in zip(before, now, self._counters.values(), strict=True))
        return sum(used) / 1e6 / (now_s - before_s)

    def _energies_uj(self) -> list[int] | None:
        energies = [_number(path) for path in self._counters]
        known = [energy for energy in energies if energy is not None]
        return known if len(known) == len(energies) else None


def find_rapl(root: Path = _ROOT) -> RaplMeter | None:
    """Find the CPU packages' counters, where they can be read."""
    counters = {}
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:[0-9]")):
        most_uj = _number(zone / "max_energy_range_uj")
        if most_uj is not None and _number(zone / "energy_uj") is not None:
            counters[zone / "energy_uj"] = most_uj
    return RaplMeter(counters) if counters else None


@dataclass(frozen=True)
class RailMeter:
    """A Jetson module's power by its INA3221 sensors: a total rail, or the sum of all rails.

    Orin NX and Nano have a total. AGX modules have none, and the sum leaves out the carrier board. Neither is what a
    meter at the plug shows.
    """

    rails: tuple[Path, ...]  # their files of mV; those of mA lie beside
    source: str

    def read_w(self) -> float | None:
        """Return the power now."""
        watts = [_rail_w(rail) for rail in self.rails]
        known = [power for power in watts if power is not None]
        return sum(known) if len(known) == len(watts) else None


def find_rails(root: Path = _ROOT) -> RailMeter | None:
    """Find the rails that together are the module's power."""
    rails = {}
    for label in sorted((root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*/in*_label")):
        name, channel = label.read_text(errors="replace").strip(), label.name[2:].removesuffix("_label")
        voltage = label.with_name(f"in{channel}_input")
        if name and "NC" not in name and channel != SUM_OF_SHUNTS_CHANNEL and _rail_w(voltage) is not None:
            rails[name] = voltage
    for name in TOTAL_RAILS:
        if name in rails:
            return RailMeter((rails[name],), f"INA3221, rail {name}: the module")
    source = f"INA3221, sum of {' + '.join(rails)}: the module's rails, without the carrier board"
    return RailMeter(tuple(rails.values()), source) if rails else None


@dataclass(frozen=True)
class JetsonStatsMeter:
    """A Jetson's power as jetson-stats knows it: modules whose sensors are not the ones above (Thor)."""

    stats: Any
    source: str = "jetson-stats, its total"

    def read_w(self) -> float | None:
        """Return the power at its last reading, about a second ago."""
        return float(self.stats.power["tot"]["power"]) / 1000


def find_jetson_stats(root: Path = _ROOT) -> JetsonStatsMeter | None:
    """Connect to jetson-stats on a Jetson, where it is installed and its service runs."""
    if l4t_release(root) is None:
        return None
    try:
        from jtop import jtop  # optional: it is AGPL, and needs a service that root installs

        stats = jtop()
        stats.start()
        meter = JetsonStatsMeter(stats)
        meter.read_w()
    except Exception:  # no package, no service, no sensor: it has no class of errors for all of that
        return None
    return meter


METERS: tuple[Callable[[Path], PowerMeter | None], ...] = (find_rapl, find_rails, find_jetson_stats)


def find_meter(root: Path = _ROOT) -> PowerMeter | None:
    """Return the first sensor there is."""
    return next((meter for find in METERS if (meter := find(root)) is not None), None)


def _rail_w(voltage: Path) -> float | None:
    millivolts, milliamps = _number(voltage), _number(voltage.with_name(f"curr{voltage.name[2:]}"))
    return None if millivolts is None or milliamps is None else millivolts * milliamps / 1e6


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
