"""Electrical power from the INA3221 sensors that Jetson modules carry: rails in sysfs, for measure/power.py.

Orin NX and Nano have a rail for the whole module. AGX modules have none: their rails are summed, which leaves out the
carrier board. Neither is what a meter at the plug shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TOTAL_RAILS = ("VDD_IN", "POM_5V_IN")  # Orin NX and Nano, Xavier NX; Nano, TX2
SUM_OF_SHUNTS_CHANNEL = 7  # no rail: it sums what the others have
NOT_CONNECTED = "NC"


@dataclass(frozen=True)
class Rail:
    """One measured supply."""

    name: str
    voltage: Path  # mV
    current: Path  # mA

    def watts(self) -> float:
        """Now. OSError or ValueError where the sensor does not answer."""
        return int(self.voltage.read_text()) * int(self.current.read_text()) / 1e6


@dataclass(frozen=True)
class Ina3221Meter:
    """The rails that together are the module's power."""

    rails: tuple[Rail, ...]
    source: str

    def read_w(self) -> float | None:
        """Now; None where a sensor did not answer."""
        try:
            return sum(rail.watts() for rail in self.rails)
        except (OSError, ValueError):
            return None


def find_rails(root: Path = Path("/")) -> tuple[Rail, ...]:
    """Every connected rail of every INA3221 that answers, in the order of the sensors."""
    rails = []
    for label in sorted((root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*/in*_label")):
        channel = label.name.removeprefix("in").removesuffix("_label")
        try:
            name = label.read_text().strip()
            if not channel.isdigit() or int(channel) == SUM_OF_SHUNTS_CHANNEL or not name or NOT_CONNECTED in name:
                continue
            rail = Rail(name, label.with_name(f"in{channel}_input"), label.with_name(f"curr{channel}_input"))
            rail.watts()
        except (OSError, ValueError):
            continue
        rails.append(rail)
    return tuple(rails)


def find_ina3221(root: Path = Path("/")) -> Ina3221Meter | None:
    """The module's power: its total rail, or the sum of all rails; None where nothing measures it."""
    rails = find_rails(root)
    for rail in rails:
        if rail.name in TOTAL_RAILS:
            return Ina3221Meter((rail,), f"INA3221, rail {rail.name}: the module")
    if not rails:
        return None
    names = " + ".join(rail.name for rail in rails)
    return Ina3221Meter(rails, f"INA3221, sum of {names}: the module's rails, without the carrier board")
