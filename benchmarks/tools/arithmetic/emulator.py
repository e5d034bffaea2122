"""Emulated CPUs, and an aarch64 system for them in a folder of the cache (arm64_system.sh makes it)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.cache import cache_dir

ROOT = Path(__file__).parents[3]
MAKE = Path(__file__).with_name("arm64_system.sh")
CONSTRAINTS = ROOT / "constraints.txt"
PROBE = "import cv2, numpy, onnx, onnxruntime, platform; print(platform.machine())"
LIMIT_SECONDS = 1800


class Unavailable(Exception):
    """Why there is no such system here; one line."""


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


@dataclass(frozen=True)
class System:
    """A complete one."""

    folder: Path

    def command(self, cpu: Cpu, arguments: Sequence[str]) -> list[str]:
        """Return Python with these arguments on that CPU; x86-64's is this interpreter with its packages."""
        emulator = [str(self.folder / f"qemu-{cpu.architecture}"), "-cpu", cpu.model]
        if cpu.architecture == "x86_64":
            return [*emulator, sys.executable, *arguments]
        return [*emulator, "-L", str(self.folder / "system"), str(self.folder / "python"), *arguments]

    def run(
        self, cpu: Cpu, arguments: Sequence[str], more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Python there, in the project's root, on one thread, with the system's own wheels."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **(more or {})}
        if cpu.architecture != "x86_64":
            environment["PYTHONPATH"] = str(self.folder / "wheels")
        words = self.command(cpu, arguments)
        return subprocess.run(
            words, env=environment, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False
        )


def ensure_system() -> System:
    """Return the cached system, made first where there is none that works. Raises Unavailable.

    It is made under another name and takes its own when it is complete, so a half one is never used.
    """
    recipe = MAKE.read_bytes() + CONSTRAINTS.read_bytes()
    final = cache_dir() / "arm64" / hashlib.sha256(recipe).hexdigest()[:16]
    system = System(final)
    if final.exists() and not works(system):
        shutil.rmtree(final)
    if not final.exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent) as folder:
            making = Path(folder) / "system"
            print("making an emulated aarch64 system: minutes, once", file=sys.stderr)
            command = ["bash", str(MAKE), str(making), str(CONSTRAINTS), sys.executable]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                raise Unavailable(f"Debian's packages took more than {LIMIT_SECONDS} s") from None
            except subprocess.CalledProcessError as error:
                lines = error.stderr.strip().splitlines() or [f"bash ended with {error.returncode}"]
                reason = next((line for line in lines if line.startswith(("E:", "ERROR"))), lines[-1])
                raise Unavailable(reason[:200]) from None
            making.rename(final)
        if not works(system):
            raise Unavailable("the emulated aarch64 Python does not start")
    return system


def works(system: System) -> bool:
    """Say whether its Python starts and imports what the runtime needs."""
    try:
        return system.run(CPUS["cortex-a76"], ["-c", PROBE]).stdout.strip() == "aarch64"
    except OSError:
        return False
