"""docs/android.md: its commands parse, its Kotlin reads what the files hold and what the model gives."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from compress.coreml.hand_json import to_json
from compress.export import parse_args
from runtime import demo
from runtime.backends.contract import INPUT_NAME, OUTPUT_SHAPES
from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from runtime.image.crop import BOX_SCALE

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/android.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
KOTLIN = "".join(re.findall(r"```kotlin\n(.*?)```", TEXT, re.DOTALL))


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {line.split()[1]: shlex.split(line)[2:] for line in COMMANDS if line.startswith("python ")}
    assert parse_args(words["compress/export.py"]).formats == ["litert"]
    assert "-m" in words and "make litert" in COMMANDS
    assert "\nlitert:\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    with pytest.raises(UserError, match=r"there is no model exports/er-xs_224_int8\.tflite"):
        demo.main(words["runtime/demo.py"])


def test_kotlin_reads_what_the_hand_file_holds() -> None:
    text = to_json(load_hand_models())
    found = json.loads(text)
    names = set(re.findall(r'json\.getJSONArray\("(\w+)"\)', KOTLIN))
    assert len(names) == 9 and names <= found["hands"][0].keys() and 'getJSONArray("hands")' in KOTLIN
    size_mb = re.search(r"([\d.]+) MB of JSON", TEXT)
    assert size_mb is not None and len(text) / 1e6 == pytest.approx(float(size_mb[1]), abs=0.05)


def test_kotlin_reads_what_the_model_gives() -> None:
    listed = re.search(r"listOf\((.*?)\)\s*\.associateWith", KOTLIN)
    assert listed is not None and set(re.findall(r'"(\w+)"', listed[1])) == OUTPUT_SHAPES.keys()
    assert set(re.findall(r'read\("(\w+)"\)', KOTLIN)) <= OUTPUT_SHAPES.keys()
    assert f'createInputBuffer("{INPUT_NAME}")' in KOTLIN and f"{BOX_SCALE:g} times" in TEXT
