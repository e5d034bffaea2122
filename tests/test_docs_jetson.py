"""Commands of docs/jetson.md that this project answers: their files exist and their flags are known."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from compress.export import parse_args
from compress.tensorrt import __main__ as engine
from compress.tensorrt.engine_file import profile
from runtime.errors import UserError

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/jetson.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("python ")
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 5
    modules = {shlex.split(line)[1] for line in COMMANDS}
    assert {"compress/export.py", "benchmarks/run.py", "runtime/demo.py", "-m"} == modules


@pytest.mark.parametrize("line", [line for line in COMMANDS if "compress/export.py" in line])
def test_exports_parse(line: str) -> None:
    args = parse_args(shlex.split(line)[2:])
    assert profile(args.target).int8_flavour == "trt"


@pytest.mark.parametrize("line", [line for line in COMMANDS if "-m compress.tensorrt" in line])
def test_engine_commands_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no model exports/er-s_224_fp32\.onnx"):
        engine.main(shlex.split(line)[3:])


def test_targets_and_files_that_are_named_exist() -> None:
    for name in re.findall(r"--target (jetson[\w-]+)", TEXT):
        assert profile(name).formats == ("onnx", "tensorrt")
    assert (ROOT / "docs/example.jpg").is_file()
