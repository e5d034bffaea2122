"""What machines say of themselves, on made trees of two Jetsons."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.devices.device_facts import describe_device, is_this_jetson
from runtime.errors import UserError

NVPMODEL = """
< POWER_MODEL ID=0 NAME=15W >
GPU MAX_FREQ 612000000
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
"""
# Model, what it is compatible with, and Jetson Linux.
ORIN_NANO = (
    "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
)
ORIN_NX = (
    "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
    "nvidia,p3768-0000+p3767-0000\0nvidia,p3767-0000\0nvidia,tegra234\0",
    "# R36 (release), REVISION: 4.7, GCID: 38968081, BOARD: generic\n",
)


def write(root: Path, path: str, text: str) -> None:
    """One file, with its folders."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def make_tree(root: Path, jetson: tuple[str, str, str]) -> Path:
    """What of a module's file system is read, under `root`."""
    model, compatible, release = jetson
    write(root, "proc/device-tree/model", model + "\0")
    write(root, "proc/device-tree/compatible", compatible)
    write(root, "etc/nv_tegra_release", release)
    write(root, "etc/nvpmodel.conf", NVPMODEL)
    write(root, "usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "12.6.68"}}')
    write(root, "var/lib/nvpmodel/status", "pmode:0001")
    return root


def test_a_record_describes_the_device(tmp_path: Path) -> None:
    device = describe_device(make_tree(tmp_path, ORIN_NX))
    assert (device.name, device.soc) == (ORIN_NX[0], "nvidia,p3768-0000+p3767-0000")
    assert (device.jetpack, device.cuda, device.power_mode) == ("6 (L4T 36.4.7)", "12.6.68", "25W")
    plain = describe_device(tmp_path / "none")
    assert plain.name and plain.cpu_flags == []
    assert (plain.soc, plain.jetpack, plain.cuda, plain.power_mode) == (None, None, None, None)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("jetson-orin-nx", r"this board is jetson-orin-nano, not jetson-orin-nx: give --target jet"),
        ("jetson-orin-nano@15W", "in power mode 25W, not 15W: sudo nvpmodel"),
    ],
)
def test_another_board_or_mode_is_refused(tmp_path: Path, target: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        is_this_jetson(target, make_tree(tmp_path, ORIN_NANO))


def test_engines_are_built_for_the_board_at_hand_alone(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "nano", ORIN_NANO)
    assert is_this_jetson("jetson-orin-nano", root) and is_this_jetson("jetson-orin-nano@25W", root)
    assert not is_this_jetson("raspberry-pi-5", root)
    assert not is_this_jetson("jetson-orin-nano", tmp_path / "pc")
    write(root, "proc/device-tree/compatible", "nvidia,p9999-0000\0nvidia,tegra234\0")
    assert is_this_jetson("jetson-orin-nano", root)  # a board that no profile knows is what its user says
