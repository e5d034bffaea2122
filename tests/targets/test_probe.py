"""The machine at hand as a profile: by its device tree, by its CPU's instructions."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from targets import identify, read_target
from targets.read import this_machine


def make_root(path: Path, compatible: bytes) -> Path:
    """Make a device tree."""
    (path / "proc/device-tree").mkdir(parents=True)
    (path / "proc/device-tree/compatible").write_bytes(compatible)
    return path


@pytest.mark.parametrize(
    ("compatible", "name"),
    [
        (b"nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0", "jetson-orin-nano"),
        (b"nvidia,p3768-0000+p3767-0005-super\0nvidia,tegra234\0", "jetson-orin-nano"),
        (b"nvidia,p3768-0000+p3767-0000\0nvidia,p3767-0000\0nvidia,tegra234\0", "jetson-orin-nx"),
        (b"raspberrypi,5-model-b\0brcm,bcm2712\0", "raspberry-pi-5"),
        (b"nvidia,p9999-0000\0nvidia,tegra234\0", None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_boards_are_known_by_their_device_tree(tmp_path: Path, compatible: bytes, name: str | None) -> None:
    assert identify(make_root(tmp_path, compatible)) == name


@pytest.mark.parametrize(
    ("machine", "flags", "like"),
    [
        ("x86_64", {"fpu", "avx2"}, "x86-64-avx2"),
        ("x86_64", {"fpu", "avx2", "avx_vnni"}, "x86-64-vnni"),
        ("aarch64", {"fp", "asimd", "asimddp"}, "raspberry-pi-5"),
        ("aarch64", {"fp", "asimd"}, "raspberry-pi-4"),
        ("arm64", set(), "raspberry-pi-5"),
    ],
)
def test_cpus_are_known_by_their_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, flags: set[str], like: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"flags : {' '.join(flags)}\n" if flags else "")
    target = this_machine(tmp_path)
    assert target.description.endswith(f"{machine}, taken for {like}")
    assert target.int8_saturates == (like == "x86-64-avx2")
    assert target.peaks == {}  # nothing was measured on it


def test_this_machine_is_a_profile_by_name() -> None:
    target = read_target("this-machine")
    assert target.name == "this-machine" and "taken for" in target.description
