"""Device profiles by name, for commands: the one place where a mistake in a name becomes a UserError."""

from __future__ import annotations

from runtime.errors import UserError
from runtime.machine import cpu_flags
from targets import THIS_MACHINE, Target, TargetError, read_target, this_machine


def load_profile(name: str) -> Target:
    """Return the profile `NAME`, `NAME@MODE` for one power mode of a Jetson, or that of `this-machine`."""
    try:
        return this_machine(cpu_flags()) if name == THIS_MACHINE else read_target(name)
    except TargetError as error:
        raise UserError(str(error)) from None
