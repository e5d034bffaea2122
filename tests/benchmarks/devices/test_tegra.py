"""Board, power mode, clocks, temperatures, throttling and memory on made trees of three modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.devices import tegra
from tests.fixtures.jetson_tree import AGX_ORIN, JETSONS, ORIN_NANO, ORIN_NX, make_tree, write


def silent(words: list[str]) -> str:
    """A command that is not there."""
    return ""


@pytest.mark.parametrize(
    ("name", "profile", "l4t"),
    [
        ("orin-nano", "jetson-orin-nano", "36.4.3"),
        ("orin-nx", "jetson-orin-nx", "36.4.7"),
        ("agx-orin", "jetson-agx-orin", "36.4.0"),
    ],
)
def test_boards(tmp_path: Path, name: str, profile: str, l4t: str) -> None:
    board = tegra.read_board(make_tree(tmp_path, JETSONS[name]))
    assert board == tegra.Board(JETSONS[name].model, profile, l4t, "6")


def test_what_is_no_jetson(tmp_path: Path) -> None:
    assert tegra.read_board(tmp_path) is None
    write(tmp_path, "proc/device-tree/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0")
    assert tegra.read_board(tmp_path) is None
    write(tmp_path, "etc/nv_tegra_release", "# R38 (release), REVISION: 2.0, GCID: 1\n")
    assert tegra.read_board(tmp_path) == tegra.Board("unknown", "raspberry-pi-5", "38.2.0", "7")


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("NV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER"),
        ("NV Fan Mode:quiet\nNV Power Mode: MODE_30W\n2\n", "MODE_30W"),
        ("NVPM ERROR: permission denied", "25W"),  # from its files
        ("", "25W"),
    ],
)
def test_power_modes(tmp_path: Path, said: str, mode: str) -> None:
    asked: list[list[str]] = []
    root = make_tree(tmp_path, ORIN_NANO)
    assert tegra.power_mode(root, lambda words: asked.append(words) or said) == mode
    assert asked == [["nvpmodel", "-q"]]


def test_an_unknown_power_mode(tmp_path: Path) -> None:
    assert tegra.power_mode(tmp_path, silent) is None
    assert tegra.power_mode(make_tree(tmp_path, ORIN_NANO, mode_id=9), silent) is None
    assert tegra.run_command(["no-such-command-here"]) == ""
    assert tegra.run_command(["false"]) == ""


@pytest.mark.parametrize("name", JETSONS)
@pytest.mark.parametrize("locked", [False, True])
def test_clocks(tmp_path: Path, name: str, locked: bool) -> None:
    jetson = JETSONS[name]
    found = tegra.clocks(make_tree(tmp_path, jetson, locked=locked))
    current, minimum, maximum = jetson.gpu_hz
    assert found["gpu_hz"] == {"current": current, "minimum": maximum if locked else minimum, "maximum": maximum}
    assert list(found["cpu_hz"]) == [f"cpu{i}" for i in range(jetson.cpus)]
    assert found["cpu_hz"]["cpu0"]["current"] == 1_344_000_000
    assert found["memory_hz"] is None  # root alone may read it
    assert found["locked"] is locked


def test_clocks_of_cpus_that_are_off(tmp_path: Path) -> None:
    root = make_tree(tmp_path, AGX_ORIN)
    for cpu in range(4, 12):
        write(root, f"sys/devices/system/cpu/cpu{cpu}/online", "0\n")
    assert list(tegra.cpu_clocks(root)) == ["cpu0", "cpu1", "cpu2", "cpu3"]
    write(root, "sys/kernel/debug/bpmp/debug/clk/emc/rate", "3199000000\n")
    assert tegra.memory_clock(root) == 3_199_000_000


def test_no_clocks_at_all(tmp_path: Path) -> None:
    assert tegra.clocks(tmp_path) == {
        "gpu_hz": {"current": None, "minimum": None, "maximum": None},
        "cpu_hz": {},
        "memory_hz": None,
        "locked": None,
    }


def test_temperatures_throttling_and_memory(tmp_path: Path) -> None:
    root = make_tree(tmp_path, ORIN_NX)
    write(root, "sys/class/thermal/thermal_zone3/type", "broken-thermal\n")
    write(root, "sys/class/thermal/thermal_zone3/temp", "-256000\n")
    assert tegra.temperatures_c(root) == {"cpu-thermal": 51.187, "gpu-thermal": 50.218}
    assert tegra.throttle_events(root) == 2
    assert tegra.process_peak_mb(root) == 524.288
    assert tegra.available_mb(root) == 6144.0
    empty = tmp_path / "empty"
    assert tegra.throttle_events(empty) is None and tegra.available_mb(empty) is None
