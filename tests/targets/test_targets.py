"""Device profiles as data."""

from __future__ import annotations

import pytest

from targets import TargetError, load_target, parse_target, target_names

GOOD = {
    "description": "made",
    "source": "unverified",
    "formats": ["onnx"],
    "precisions": ["fp32"],
    "int8_saturates": False,
}


@pytest.mark.parametrize("name", target_names())
def test_every_profile_reads_and_gives_its_sources(name: str) -> None:
    target = load_target(name)
    assert target.name == name and target.source and target.description
    assert set(target.precisions) <= {"fp32", "fp16", "int8"}
    assert isinstance(target.int8_saturates, bool)
    assert target.int8_speedup_peak is None or target.int8_speedup_peak > 0


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(TargetError, match="did you mean raspberry-pi-5"):
        load_target("raspberry-pi5")


@pytest.mark.parametrize("change", [{"colour": "red"}, {"formats": None}])
def test_keys_are_exact(change: dict[str, object]) -> None:
    content = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    with pytest.raises(TargetError, match="missing or unknown"):
        parse_target("made", content)
    assert parse_target("made", GOOD).int8_speedup_peak is None
