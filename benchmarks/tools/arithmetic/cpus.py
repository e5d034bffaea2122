"""The CPUs whose arithmetic is compared with this machine's, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.errors import unknown_name


@dataclass(frozen=True)
class Cpu:
    """A CPU as the emulator knows it."""

    name: str
    architecture: str  # aarch64 or x86_64
    model: str  # of the emulator's -cpu
    why: str


# Not `max`: numpy's OpenBLAS computes wrong matrix products with the emulated SME of qemu 10.0.
CPUS: Mapping[str, Cpu] = {
    cpu.name: cpu
    for cpu in (
        Cpu("cortex-a76", "aarch64", "cortex-a76", "with dotprod: Raspberry Pi 5, phones of the last years"),
        Cpu("cortex-a72", "aarch64", "cortex-a72", "without dotprod: Raspberry Pi 4"),
        Cpu("neoverse-n2", "aarch64", "neoverse-n2", "with i8mm and SVE: servers, newest phones"),
        Cpu("haswell", "x86_64", "Haswell-noTSX", "AVX2 without VNNI, whose 16-bit sums saturate"),
    )
}
DEFAULT_CPU = "cortex-a76"


def get_cpu(name: str) -> Cpu:
    """The CPU of that name; a UserError with the nearest where there is none."""
    if name in CPUS:
        return CPUS[name]
    raise unknown_name("CPU", name, CPUS)
