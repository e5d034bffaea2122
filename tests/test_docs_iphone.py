"""docs/iphone.md: its commands parse, its Swift is short and reads what the files hold."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from compress.coreml.hand_json import main as write_hand_json
from compress.export import parse_args
from runtime.backends.contract import INPUT_NAME, OUTPUT_SHAPES
from runtime.image.crop import BOX_SCALE
from targets import read_target

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/iphone.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("python ")
]
SWIFT = "".join(re.findall(r"```swift\n(.*?)```", TEXT, re.DOTALL))


@pytest.mark.parametrize("line", [line for line in COMMANDS if "compress/export.py" in line])
def test_exports_parse(line: str) -> None:
    args = parse_args(shlex.split(line)[2:])
    assert args.formats == ["coreml"] and read_target(args.target).formats == ("coreml",)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "-m compress" in line])
def test_other_commands_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, _, module, *arguments = shlex.split(line)
    assert module == "compress.coreml.hand_json"
    (tmp_path / "exports").mkdir()
    assert write_hand_json(arguments) == 0
    size_mb = re.search(r"([\d.]+) MB of JSON", TEXT)
    assert size_mb is not None
    assert (tmp_path / "exports/hand.json").stat().st_size / 1e6 == pytest.approx(float(size_mb[1]), abs=0.05)


def test_swift_reads_what_the_hand_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "hand.json"
    write_hand_json(["-o", str(path)])
    content = json.loads(path.read_text())
    known = {re.sub(r"_(\w)", lambda found: found[1].upper(), key) for key in content["hands"][0]}
    declared = re.findall(r"let ([\w, ]+): \[\[?(?:Float|Int)\]?\](?:, ([\w, ]+): \[\[Int\]\])?", SWIFT)
    names = {name for group in declared for part in group for name in re.split(r",\s*", part) if name}
    assert len(names) == 10 and names <= known
    assert "struct HandFile: Decodable { let hands: [HandModel] }" in SWIFT and "hands" in content


def test_swift_reads_what_the_graph_gives() -> None:
    assert set(re.findall(r'read\("(\w+)"\)', SWIFT)) <= OUTPUT_SHAPES.keys()
    assert f'"{INPUT_NAME}": MLFeatureValue' in SWIFT
    assert f"{BOX_SCALE:g} times" in TEXT
