"""Device profiles as data: coherent, with the peaks of their power modes, and as a table."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from compress.onnx.flavours import FLAVOURS
from runtime.errors import UserError
from targets import read_target, target_names
from targets.__main__ import main
from targets.profile import PRECISIONS, Format, Int8Flavour
from targets.read import parse_target

GOOD: dict[str, Any] = {
    "description": "made",
    "formats": ["onnx"],
    "precisions": ["fp32"],
    "absent": {"tensorrt": "no GPU", "coreml": "no Mac", "fp16": "slow", "int8": "slow"},
    "figures": {"memory_gb": {"value": 8, "source": "unverified"}},
}


@pytest.mark.parametrize("name", target_names())
def test_every_profile_fits_together_and_every_number_has_a_source(name: str) -> None:
    target = read_target(name)
    assert target.name == name and target.description
    assert all(len(figure.source) > 5 and 0 < figure.value < 1e9 for figure in target.peaks.values())
    # It says why, for just what is missing.
    assert set(target.absent) == {*get_args(Format), *PRECISIONS} - {*target.formats, *target.precisions}
    assert all(target.absent.values())
    assert ("int8" in target.precisions) == (target.int8_flavour is not None)
    assert ("coreml" in target.formats) == (target.deployment_target is not None)
    assert bool(target.power_modes) == bool(target.power_mode) == bool(target.mode) == bool(target.memory_bus_bytes)


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
    target = read_target(name)
    assert target.power_mode is not None and name.endswith(f"@{target.power_mode.name}")
    peaks = target.peaks
    assert peaks["int8_gops"].value / 1000 == pytest.approx(int8_tops, rel=0.025)
    assert peaks["fp16_gflops"].value == peaks["int8_gops"].value / 2
    assert peaks["memory_gb_s"].value == pytest.approx(gb_s, rel=0.01)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("jetson-agx-orin@20W", r"no power mode '20W' \(there are MODE_15W, MODE_30W, MODE_50W, MAXN\)"),
        ("raspberry-pi-5@fast", r"no power mode 'fast' \(there are none\)"),
        ("raspberry-pi5", r"did you mean raspberry-pi-5\?.*this-machine"),
        ("orin-nano", "did you mean jetson-orin-nano"),
    ],
)
def test_an_unknown_profile_or_mode_names_those_there_are(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_target(name)


@pytest.mark.parametrize(
    ("target", "format", "precision", "reason"),
    [
        ("jetson-nano", "onnx", "int8", "compute capability 5.3 has no int8 path in TensorRT; it takes fp32"),
        ("jetson-nano", "tensorrt", None, "Python 3.6, this project needs 3.10: build from the ONNX file"),
        ("jetson-orin-nano", "coreml", "int8", "Apple's devices alone; it takes onnx, tensorrt"),
        ("raspberry-pi-4", "onnx", "fp16", "only adds conversions"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(target: str, format: str, precision: str | None, reason: str) -> None:
    said = read_target(target).refusal(format=format, precision=precision)
    assert said is not None and said.startswith(target) and "\n" not in said and reason in said
    assert read_target("jetson-orin-nano").refusal(format="tensorrt", precision="int8") is None


def test_flavours_are_the_exporters_own() -> None:
    assert set(get_args(Int8Flavour)) <= set(FLAVOURS)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"colour": "red"}, ""),
        ({"formats": None}, ".formats"),
        ({"formats": ["onnxx"]}, ".formats"),
        ({"figures": {"memory_gb": {"value": 8}}}, ".figures['memory_gb'].source"),
        ({"figures": {"weight_kg": {"value": 1, "source": "x"}}}, ".figures['weight_kg']"),
    ],
)
def test_a_wrong_profile_says_where(change: dict[str, Any], where: str) -> None:
    assert parse_target("made", GOOD).figures["memory_gb"].value == 8
    content = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(UserError) as error:
        parse_target("made", content)
    assert f"@ targets/made.toml{where}" in str(error.value) and "\n" not in str(error.value)


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    table = capsys.readouterr().out
    assert "jetson-orin-nano@25W" in table and "this-machine" in table and "614*" in table
    assert main(["--show", "jetson-orin-nano@15W"]) == 0
    shown = capsys.readouterr().out
    assert "int8_gops: 20054 (4 TPCs at 612 MHz" in shown and "nvpmodel" in shown
    with pytest.raises(UserError, match="unknown target 'toaster'"):
        main(["--show", "toaster"])
