"""What machines say of themselves, on made trees of three Jetsons."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.devices.device_facts import describe_device, is_this_jetson
from benchmarks.devices.device_reader import DeviceFacts, read_files
from runtime.errors import UserError
from tests.fixtures.jetson_tree import AGX_ORIN, JETSONS, ORIN_NANO, ORIN_NX, make_tree, write


@pytest.mark.parametrize("name", JETSONS)
@pytest.mark.parametrize("locked", [False, True])
def test_a_jetson_by_its_files(tmp_path: Path, name: str, locked: bool) -> None:
    jetson = JETSONS[name]
    facts = read_files(make_tree(tmp_path, jetson, locked=locked))
    assert facts.cpu_mhz == (1344.0,) * jetson.cpus and facts.gpu_mhz == jetson.gpu_hz[0] / 1e6
    assert facts.locked is locked
    assert facts.temperature_c == 51.187 and facts.throttle_events == 2


def test_parts_that_are_off_or_do_not_answer(tmp_path: Path) -> None:
    assert read_files(tmp_path) == DeviceFacts()
    root = make_tree(tmp_path, AGX_ORIN)
    for cpu in range(4, 12):
        write(root, f"sys/devices/system/cpu/cpu{cpu}/online", "0\n")
    write(root, "sys/class/thermal/thermal_zone0/temp", "-256000\n")
    (root / AGX_ORIN.gpu / "min_freq").unlink()
    facts = read_files(root)
    assert len(facts.cpu_mhz) == 4 and facts.locked is None and facts.temperature_c == 50.218


def test_a_record_describes_the_device(tmp_path: Path) -> None:
    device = describe_device(make_tree(tmp_path, ORIN_NX))
    assert (device.name, device.soc) == (ORIN_NX.model, "nvidia,p3768-0000+p3767-0000")
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
