"""What leaves the Neural Engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress.coreml.neural_engine import leaving
from compress.coreml.package import read_function
from tests.fixtures.mil_programs import write_program


def test_what_leaves(tmp_path: Path) -> None:
    def build(mb: Any, x: Any) -> Any:
        x = mb.gather(x=mb.gather(x=x, indices=[1, 0], axis=1), indices=[0, 1], axis=0)
        return mb.softmax(x=mb.reshape(x=mb.relu(x=x), shape=[1, 1, 2, 1, 2]), axis=-1)

    function = read_function(write_program(tmp_path / "a.mlpackage", (2, 2), build, "fp16"))
    found = {rule.rule: rule.kinds for rule in leaving(function)}
    assert found["gathering by index"] == {"gather": 2}
    assert found["rank above 4"] == {"reshape": 1, "softmax": 1, "cast": 1}
    assert found["fp32 arithmetic"] == {"cast": 1}  # of what the package gives
