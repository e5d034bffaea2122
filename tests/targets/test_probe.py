"""The machine at hand as a profile, on made /proc trees."""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path

import pytest

from targets import identify, load_target, this_machine
from targets.__main__ import main


def make_root(path: Path, compatible: bytes = b"", flags: str = "", mem_kib: int = 0) -> Path:
    """A /proc with just what is read."""
    (path / "proc/device-tree").mkdir(parents=True)
    if compatible:
        (path / "proc/device-tree/compatible").write_bytes(compatible)
    if flags:
        (path / "proc/cpuinfo").write_text(f"processor : 0\n{flags}\n")
    if mem_kib:
        (path / "proc/meminfo").write_text(f"MemTotal:       {mem_kib} kB\nMemFree: 1 kB\n")
    return path


@pytest.mark.parametrize(
    ("compatible", "name"),
    [
        (b"nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0", "jetson-orin-nano"),
        (b"nvidia,p3768-0000+p3767-0005-super\0nvidia,tegra234\0", "jetson-orin-nano"),
        (b"nvidia,p3768-0000+p3767-0000\0nvidia,p3767-0000\0nvidia,tegra234\0", "jetson-orin-nx"),
        (b"nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0", "jetson-agx-orin"),
        (b"nvidia,p3971-0089+p3834-0008\0nvidia,tegra264\0", "jetson-thor"),
        (b"raspberrypi,5-model-b\0brcm,bcm2712\0", "raspberry-pi-5"),
        (b"raspberrypi,4-model-b\0brcm,bcm2711\0", "raspberry-pi-4"),
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
        ("x86_64", "flags : fpu avx2", "x86-64-avx2"),
        ("x86_64", "flags : fpu avx2 avx512_vnni", "x86-64-vnni"),
        ("x86_64", "flags : fpu avx2 avx_vnni", "x86-64-vnni"),
        ("aarch64", "Features : fp asimd asimddp", "raspberry-pi-5"),
        ("aarch64", "Features : fp asimd", "raspberry-pi-4"),
        ("arm64", "", "raspberry-pi-5"),
    ],
)
def test_cpus_are_known_by_their_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, flags: str, like: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    target = this_machine(make_root(tmp_path, flags=flags, mem_kib=4_000_000))
    assert target.description.endswith(f"{machine}, taken for {like}")
    assert target.int8_saturates == (like == "x86-64-avx2")
    assert target.figure("memory_gb") == 4.1
    assert target.peaks.fp32_gflops is None  # nothing was measured on it


def test_a_jetson_without_tensorrt_says_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path, b"nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    target = this_machine(root)
    assert target.formats == ("onnx",) and "JetPack" in target.absent["tensorrt"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert this_machine(root).formats == ("onnx", "tensorrt")
    assert this_machine(root).int8_flavour == "trt"


def test_this_machine_loads() -> None:
    target = load_target("this-machine")
    assert target.name == "this-machine" and target.python == (".".join(platform.python_version_tuple()[:2]),)


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    table = capsys.readouterr().out
    assert "jetson-orin-nano@25W" in table and "this-machine" in table and "614*" in table
    assert main(["--show", "jetson-orin-nano@15W"]) == 0
    shown = capsys.readouterr().out
    assert "int8_gops: 20054 (4 TPCs at 612 MHz" in shown and "nvpmodel" in shown
    assert main(["--show", "toaster"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown target 'toaster'")
