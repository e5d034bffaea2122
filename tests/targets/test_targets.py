"""Device profiles as data."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets import TargetError, load_target, parse_target, target_names
from targets.profile import FORMATS, PRECISIONS

GOOD: dict[str, Any] = {
    "description": "made",
    "kind": "cpu",
    "formats": ["onnx"],
    "precisions": ["fp32", "int8"],
    "int8_flavour": "cpu",
    "opset_max": 20,
    "absent": {"tensorrt": "no GPU", "coreml": "no Mac", "fp16": "slow"},
    "figures": {"memory_gb": {"value": 8, "source": "unverified"}},
}
MODE = {"name": "15W", "gpu_mhz": 612, "tpcs": 4, "memory_mhz": 2133, "source": "made"}
WITH_MODES = {**GOOD, "power_modes": [MODE], "default_power_mode": "15W", "memory_bus_bytes": 16}


def changed(**changes: object) -> dict[str, Any]:
    """GOOD with changes; None takes a key out."""
    content = copy.deepcopy(GOOD) | changes
    return {key: value for key, value in content.items() if value is not None}


@pytest.mark.parametrize("name", target_names())
def test_every_profile_says_what_there_is_and_why_the_rest_is_not(name: str) -> None:
    target = load_target(name)
    assert target.name == name and target.description
    assert {*target.formats, *target.precisions} | set(target.absent) == {*FORMATS, *PRECISIONS}
    numbers = [*target.figures.values(), *(figure for figure in vars(target.peaks).values() if figure)]
    assert all(figure.value > 0 and len(figure.source) > 5 for figure in numbers)


@pytest.mark.parametrize(
    ("name", "int8_tops", "gb_s"),
    [
        # What NVIDIA says of its modules; the figures below come from clocks and clusters.
        ("jetson-orin-nano@15W", 20, 68),
        ("jetson-orin-nano@MAXN_SUPER", 33, 102),
        ("jetson-orin-nano-4gb@10W", 10, 34),
        ("jetson-orin-nx@MAXN", 30, 102),
        ("jetson-orin-nx-8gb@MAXN", 25, 102),
        ("jetson-agx-orin@MAXN", 85, 205),
        ("jetson-agx-orin-32gb@MAXN", 54, 205),
    ],
)
def test_clocks_and_clusters_give_the_published_peaks(name: str, int8_tops: float, gb_s: float) -> None:
    peaks = load_target(name).peaks
    assert peaks.int8_gops and peaks.fp16_gflops and peaks.memory_gb_s
    assert peaks.int8_gops.value / 1000 == pytest.approx(int8_tops, rel=0.025)
    assert peaks.fp16_gflops.value == peaks.int8_gops.value / 2
    assert peaks.memory_gb_s.value == pytest.approx(gb_s, rel=0.01)


def test_a_power_mode_is_part_of_the_profile() -> None:
    default, slow = load_target("jetson-agx-orin"), load_target("jetson-agx-orin@MODE_15W")
    assert default.power_mode and slow.power_mode and default.power_mode.name == "MODE_30W"
    fast = default.in_mode("MAXN")
    assert fast.peaks.int8_gops and slow.peaks.int8_gops
    assert fast.peaks.int8_gops.value / slow.peaks.int8_gops.value > 8
    with pytest.raises(TargetError, match=r"no power mode '20W' \(there are MODE_15W, MODE_30W, MODE_50W, MAXN\)"):
        load_target("jetson-agx-orin@20W")
    with pytest.raises(TargetError, match=r"no power mode 'fast' \(there are none\)"):
        load_target("raspberry-pi-5@fast")


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(TargetError, match=r"did you mean raspberry-pi-5\?.*this-machine"):
        load_target("raspberry-pi5")
    with pytest.raises(TargetError, match="did you mean jetson-orin-nano"):
        load_target("orin-nano")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"colour": "red"}, "unknown keys colour"),
        ({"formats": None}, "formats is missing"),
        ({"formats": []}, "formats is"),
        ({"formats": ["onnxx"]}, r"there are onnx, tensorrt, coreml"),
        ({"kind": "toaster"}, "kind is 'toaster'"),
        ({"opset_max": True}, "opset_max is True"),
        ({"opset_max": "17"}, "opset_max is '17'"),
        ({"int8_flavour": None}, "int8 and int8_flavour"),
        ({"absent": {"tensorrt": "no GPU"}}, r"says why.*coreml, fp16"),
        ({"absent": {**GOOD["absent"], "onnx": "?"}}, "says why"),
        ({"absent": {**GOOD["absent"], "tflite": "?"}}, "unknown in"),
        ({"absent": {**GOOD["absent"], "fp16": ""}}, "not a text"),
        ({"figures": {"memory_gb": 8}}, "value and source"),
        ({"figures": {"memory_gb": {"value": 8}}}, "value and source"),
        ({"figures": {"memory_gb": {"value": 8, "source": ""}}}, "not a text"),
        ({"figures": {"memory_gb": {"value": -1, "source": "x"}}}, "not a number above 0"),
        ({"figures": {"memory_gb": {"value": float("nan"), "source": "x"}}}, "not a number above 0"),
        ({"figures": {"weight_kg": {"value": 1, "source": "x"}}}, "unknown figures weight_kg"),
        ({"deployment_target": "iOS17"}, "coreml and deployment_target"),
        ({"default_power_mode": "15W"}, "go together"),
        ({"power_modes": "15W"}, "power_modes is '15W'"),
        ({"power_modes": [MODE]}, "go together"),
        ({"python": [3.1]}, "not a text"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(change: dict[str, object], reason: str) -> None:
    assert parse_target("made", GOOD).int8_speedup_peak is None
    with pytest.raises(TargetError, match=reason) as error:
        parse_target("made", changed(**change))
    assert str(error.value).startswith("target made: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tpcs": 0.5}, "tpcs is 0.5"),
        ({"gpu_mhz": None}, "gpu_mhz is None"),
        ({"colour": 1}, "unknown keys colour"),
        ({"source": 1}, "source is 1"),
    ],
)
def test_a_wrong_power_mode_says_what_is_wrong(change: dict[str, object], reason: str) -> None:
    assert parse_target("made", WITH_MODES).peaks.int8_gops is not None
    mode = {key: value for key, value in (MODE | change).items() if value is not None}
    with pytest.raises(TargetError, match=reason):
        parse_target("made", {**WITH_MODES, "power_modes": [mode]})


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*WITH_MODES, "python", "tensorrt", "compatible", "deployment_target", "x"]), json_like)
def test_any_value_is_read_or_refused(key: str, value: object) -> None:
    """A profile with any value anywhere is a Target or a TargetError, nothing else."""
    try:
        target = parse_target("made", {**WITH_MODES, key: value})
    except TargetError:
        return
    assert vars(target.peaks)
