"""Sensors of power on made trees, and the log of their readings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.devices.power_meters import RaplMeter, find_meter, find_rails
from benchmarks.measure.power import PowerLog
from tests.fixtures.jetson_tree import AGX_ORIN, JETSONS, ORIN_NANO, make_jetson_stats, make_tree, write

SENSOR = "sys/bus/i2c/devices/1-0040/hwmon/hwmon1"


@pytest.mark.parametrize("name", JETSONS)
def test_the_power_of_a_module(tmp_path: Path, name: str) -> None:
    meter = find_meter(make_tree(tmp_path, JETSONS[name]))
    assert meter is not None and meter.read_w() == pytest.approx(JETSONS[name].watts)


def test_a_total_rail_or_the_sum_of_all(tmp_path: Path) -> None:
    nano, agx = find_rails(make_tree(tmp_path / "nano", ORIN_NANO)), find_rails(make_tree(tmp_path / "agx", AGX_ORIN))
    assert nano is not None and nano.source == "INA3221, rail VDD_IN: the module"
    names = "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 + VDDQ_VDD2_1V8AO"  # no NC, no sum of shunts
    assert agx is not None and agx.source == f"INA3221, sum of {names}: the module's rails, without the carrier board"


def test_sensors_that_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jtop", None)
    root = make_tree(tmp_path, ORIN_NANO)
    meter = find_meter(root)
    write(root, f"{SENSOR}/curr1_input", "busy")
    assert meter is not None and meter.read_w() is None
    later = find_meter(root)  # the total is gone: the rest is summed, and says so
    assert later is not None and "sum of VDD_CPU_GPU_CV + VDD_SOC" in later.source
    (root / SENSOR / "in2_input").unlink()
    write(root, f"{SENSOR}/in3_label", "\n")
    assert find_meter(root) is None
    monkeypatch.setitem(sys.modules, "jtop", make_jetson_stats(milliwatts=7500))
    stats = find_meter(root)
    assert stats is not None and stats.read_w() == 7.5 and stats.source.startswith("jetson-stats")
    assert find_meter(tmp_path / "pc") is None


def test_rapl_counts_energy_and_runs_over(tmp_path: Path) -> None:
    zone = "sys/class/powercap/intel-rapl:0"
    write(tmp_path, f"{zone}/energy_uj", "1000000")
    write(tmp_path, f"{zone}/max_energy_range_uj", "9999999")
    meter = find_meter(tmp_path)
    assert meter is not None and meter.source == "RAPL, CPU packages"
    times = iter((0.0, 2.0, 4.0, 4.0, 5.0))
    rapl = RaplMeter({tmp_path / zone / "energy_uj": 9_999_999}, lambda: next(times))
    write(tmp_path, f"{zone}/energy_uj", "9000000")
    assert rapl.read_w() == 4.0
    write(tmp_path, f"{zone}/energy_uj", "1000000")
    assert rapl.read_w() == 1.0  # 9 J to 10 J, and from 0 to 1 J
    assert rapl.read_w() is None  # no time has passed
    (tmp_path / zone / "energy_uj").unlink()
    assert rapl.read_w() is None


def test_a_log_tells_idle_and_busy_apart(tmp_path: Path) -> None:
    meter = find_rails(make_tree(tmp_path, ORIN_NANO))
    assert meter is not None
    log = PowerLog(meter, period_s=0.001)
    log.measure_idle(0.003)
    write(tmp_path, f"{SENSOR}/curr1_input", "1920")
    with log.during("fp16"):
        pass
    power = log.result("fp16")
    assert power is not None and power.idle == pytest.approx(ORIN_NANO.watts) and power.source == meter.source
    assert power.mean == power.max == pytest.approx(2 * ORIN_NANO.watts)
    assert log.result("int8") is None
