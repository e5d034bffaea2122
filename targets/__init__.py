"""What each device can do, as data: one TOML file per profile, read into a typed record."""

from __future__ import annotations

from targets.fit import refusal
from targets.probe import THIS_MACHINE, identify, nearest_profile, this_machine
from targets.profile import Figure, Target, TargetError
from targets.read import parse_target, read_target, target_names

__all__ = [
    "THIS_MACHINE",
    "Figure",
    "Target",
    "TargetError",
    "identify",
    "nearest_profile",
    "parse_target",
    "read_target",
    "refusal",
    "target_names",
    "this_machine",
]
