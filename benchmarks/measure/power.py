"""Power where the device measures it: one reader per kind of sensor in METERS, the first that finds its sensor is used.

A reader is a function of the file system's root that gives a PowerMeter, or None where its sensor is not there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.devices.ina3221 import find_ina3221
from benchmarks.records.record import PowerW

PERIOD_S = 0.1
IDLE_SECONDS = 2.0
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

    def __init__(self, counters: list[Path], ranges_uj: list[int]) -> None:
        self._counters = list(zip(counters, ranges_uj, strict=True))
        self._last = self._energies_uj()
        self._time_s = time.perf_counter()

    def read_w(self) -> float | None:
        """Mean power since the last reading."""
        energies, now_s = self._energies_uj(), time.perf_counter()
        if energies is None or self._last is None or now_s <= self._time_s:
            self._last = energies
            return None
        used_uj = sum(
            (after - before) % (most + 1)  # counters run over
            for after, before, (_, most) in zip(energies, self._last, self._counters, strict=True)
        )
        seconds = now_s - self._time_s
        self._last, self._time_s = energies, now_s
        return used_uj / 1e6 / seconds

    def _energies_uj(self) -> list[int] | None:
        try:
            return [int(path.read_text()) for path, _ in self._counters]
        except (OSError, ValueError):
            return None


def find_rapl(root: Path = _ROOT) -> RaplMeter | None:
    """The CPU packages' counters, where they can be read."""
    counters, ranges_uj = [], []
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:[0-9]")):
        try:
            int((zone / "energy_uj").read_text())
            ranges_uj.append(int((zone / "max_energy_range_uj").read_text()))
        except (OSError, ValueError):
            continue
        counters.append(zone / "energy_uj")
    return RaplMeter(counters, ranges_uj) if counters else None


METERS: tuple[Callable[[Path], PowerMeter | None], ...] = (find_rapl, find_ina3221)


def find_meter(root: Path = _ROOT) -> PowerMeter | None:
    """The first sensor there is."""
    return next((meter for find in METERS if (meter := find(root)) is not None), None)


class PowerLog:
    """Readings of one meter, sorted by what ran meanwhile."""

    def __init__(self, meter: PowerMeter, period_s: float = PERIOD_S) -> None:
        self._meter = meter
        self._period_s = period_s
        self._idle: list[float] = []
        self._readings: dict[str, list[float]] = {}

    def measure_idle(self, seconds: float = IDLE_SECONDS) -> None:
        """Read while nothing of this process runs."""
        end = time.perf_counter() + seconds
        self._meter.read_w()  # what came before does not count
        while time.perf_counter() < end:
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

        self._meter.read_w()
        reader = threading.Thread(target=keep_reading, daemon=True)
        reader.start()
        try:
            yield
        finally:
            done.set()
            reader.join()
            self._keep(readings)

    def _keep(self, readings: list[float]) -> None:
        power_w = self._meter.read_w()
        if power_w is not None:
            readings.append(power_w)

    def result(self, name: str) -> PowerW | None:
        """Of one candidate; None where the sensor never answered."""
        readings = self._readings.get(name)
        if not readings:
            return None
        idle = sum(self._idle) / len(self._idle) if self._idle else None
        return PowerW(idle, sum(readings) / len(readings), max(readings), self._meter.source)
