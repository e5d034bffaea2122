"""Sensors of power on made trees, and the log of their readings."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.devices.power import find_meter
from tests.fixtures.jetson_tree import AGX_ORIN, JETSONS, ORIN_NANO, make_tree, write

SENSOR = "sys/bus/i2c/devices/1-0040/hwmon/hwmon1"


@pytest.mark.parametrize("name", JETSONS)
def test_the_power_of_a_module(tmp_path: Path, name: str) -> None:
    meter = find_meter(make_tree(tmp_path, JETSONS[name]))
    assert meter is not None and meter.read_w() == pytest.approx(JETSONS[name].watts)
    rails = "sum of VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 + VDDQ_VDD2_1V8AO"  # no NC, no sum of shunts
    assert f"INA3221, {rails if JETSONS[name] is AGX_ORIN else 'rail VDD_IN'}: the module" in meter.source


def test_sensors_that_do_not_answer(tmp_path: Path) -> None:
    root = make_tree(tmp_path, ORIN_NANO)
    meter = find_meter(root)
    write(root, f"{SENSOR}/curr1_input", "busy")
    assert meter is not None and meter.read_w() is None
    later = find_meter(root)  # the total is gone: the rest is summed, and says so
    assert later is not None and "sum of VDD_CPU_GPU_CV + VDD_SOC" in later.source
    (root / SENSOR / "in2_input").unlink()
    write(root, f"{SENSOR}/in3_label", "\n")
    assert later.read_w() is None and find_meter(root) is None
    assert find_meter(tmp_path / "pc") is None


def test_what_ran_is_told_apart(tmp_path: Path) -> None:
    meter = find_meter(make_tree(tmp_path, ORIN_NANO))
    assert meter is not None
    with meter.during("fp32"):
        pass
    write(tmp_path, f"{SENSOR}/curr1_input", "1920")
    with meter.during("fp16"):
        pass
    one, other = meter.result("fp32"), meter.result("fp16")
    assert one is not None and other is not None and one.source == meter.source
    assert one.mean == pytest.approx(ORIN_NANO.watts)
    assert other.mean == other.max == pytest.approx(2 * ORIN_NANO.watts)
    assert meter.result("int8") is None
