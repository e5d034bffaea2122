"""Power while candidates run: readings of one meter, sorted by what ran meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.devices.power_meters import PowerMeter
from benchmarks.records.record import PowerW

PERIOD_S = 0.1
IDLE_SECONDS = 2.0


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
