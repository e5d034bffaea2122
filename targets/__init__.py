"""What each device can do, as data: one TOML file per profile, read into a typed record."""

from __future__ import annotations

from targets.profile import Figure, Target
from targets.read import THIS_MACHINE, identify, read_target, target_names

__all__ = ["THIS_MACHINE", "Figure", "Target", "identify", "read_target", "target_names"]
