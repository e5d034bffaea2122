"""Power rails on made trees of three modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.devices.ina3221 import find_ina3221, find_rails
from benchmarks.measure.power import PowerLog
from tests.fixtures.jetson_tree import AGX_ORIN, JETSONS, ORIN_NANO, make_tree, write


@pytest.mark.parametrize("name", JETSONS)
def test_the_power_of_a_module(tmp_path: Path, name: str) -> None:
    meter = find_ina3221(make_tree(tmp_path, JETSONS[name]))
    assert meter is not None
    assert meter.read_w() == pytest.approx(JETSONS[name].watts)


def test_a_total_rail_is_not_added_to_its_parts(tmp_path: Path) -> None:
    meter = find_ina3221(make_tree(tmp_path, ORIN_NANO))
    assert meter is not None and [rail.name for rail in meter.rails] == ["VDD_IN"]
    assert meter.source == "INA3221, rail VDD_IN: the module"
    assert [rail.name for rail in find_rails(tmp_path)] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]


def test_without_a_total_rails_are_summed(tmp_path: Path) -> None:
    meter = find_ina3221(make_tree(tmp_path, AGX_ORIN))
    assert meter is not None
    names = ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]  # no NC, no sum of shunts
    assert [rail.name for rail in meter.rails] == names
    assert "without the carrier board" in meter.source and all(name in meter.source for name in names)


def test_sensors_that_do_not_answer(tmp_path: Path) -> None:
    root = make_tree(tmp_path, ORIN_NANO)
    folder = "sys/bus/i2c/devices/1-0040/hwmon/hwmon1"
    meter = find_ina3221(root)
    assert meter is not None
    write(root, f"{folder}/curr1_input", "busy")
    assert meter.read_w() is None
    later = find_ina3221(root)  # the total is gone: the rest is summed, and says so
    assert later is not None and [rail.name for rail in later.rails] == ["VDD_CPU_GPU_CV", "VDD_SOC"]
    (root / folder / "in2_input").unlink()
    write(root, f"{folder}/in3_label", "\n")
    assert find_ina3221(root) is None
    assert find_ina3221(tmp_path / "nothing") is None


def test_it_is_a_meter_for_the_log(tmp_path: Path) -> None:
    meter = find_ina3221(make_tree(tmp_path, ORIN_NANO))
    assert meter is not None
    log = PowerLog(meter, period_s=0.001)
    log.measure_idle(0.01)
    write(tmp_path, "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/curr1_input", "1920")
    with log.during("fp16"):
        pass
    power = log.result("fp16")
    assert power is not None and power.idle == pytest.approx(ORIN_NANO.watts)
    assert power.mean == power.max == pytest.approx(2 * ORIN_NANO.watts)
