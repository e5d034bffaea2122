"""Passports, good and bad."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.backends.contract import Heatmap, parse_passport
from runtime.errors import UserError

GOOD: dict[str, Any] = {
    "variant": "er-s",
    "precision": "int8",
    "input_px": 224,
    "heatmap": {"depth": 7, "height": 7, "width": 7, "depth_range_m": 0.4},
    "hand_model": {"name": "embedded-cc0", "sha256": "AB" * 32},
    "dataset": "SynthHands test (synthetic)",
}


def test_a_good_passport() -> None:
    info = parse_passport(json.dumps(GOOD | {"more": ["facts"]}), "m.onnx")
    assert info.input_px == 224
    assert info.heatmap == Heatmap(7, 7, 7, 0.4)
    assert info.hand_model_sha256 == "ab" * 32
    assert info.synthetic
    assert not parse_passport(json.dumps(GOOD | {"dataset": "InterHand2.6M"}), "m.onnx").synthetic
    assert not parse_passport(json.dumps(GOOD | {"synthetic": False}), "m.onnx").synthetic


CHANGES: list[dict[str, Any]] = [{"input_px": value} for value in (224.0, True, 10**9, -224)]
CHANGES += [{"variant": text} for text in ("a\nb", "", "a" * 1000)]
CHANGES += [{"dataset": 3}, {"synthetic": "no"}, {"heatmap": 7}, {"heatmap": GOOD["heatmap"] | {"depth": 0}}]
CHANGES += [{"heatmap": GOOD["heatmap"] | {"depth_range_m": value}} for value in (float("nan"), float("inf"), 0, "0.4")]
CHANGES += [{"hand_model": {"name": "a", "sha256": value}} for value in ("xy" * 32, "ab")]
CHANGES += [{"hand_model": {"sha256": "ab" * 32}}]
WITHOUT = [{k: v for k, v in GOOD.items() if k != key} for key in GOOD]
BAD = [None, "", "{", "[]", "null", '"x"', "[" * 100_000, " " * 2_000_000]
BAD += [json.dumps(facts) for facts in [*WITHOUT, *(GOOD | change for change in CHANGES)]]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_bad_passport(text: str | None) -> None:
    with pytest.raises(UserError, match=r"metadata.*compress/export\.py") as error:
        parse_passport(text, "m.onnx")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250
