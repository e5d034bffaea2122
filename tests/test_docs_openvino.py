"""Commands of docs/openvino.md: exports are what the program takes, the others run up to the first missing file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchmarks import run
from compress.export import parse_args
from compress.request import ExportRequest
from compress.request_check import check_request
from runtime import demo
from runtime.errors import UserError

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/openvino.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [shlex.split(line)[1:] for block in BLOCKS for line in block.splitlines() if line.startswith("python ")]
MAINS = {"benchmarks/run.py": run.main, "runtime/demo.py": demo.main}


@pytest.mark.parametrize("words", COMMANDS, ids=shlex.join)
def test_commands(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "compress/export.py":
        given = vars(parse_args(words[1:]))
        assert not given.pop("list") and check_request(ExportRequest(**given)) is None
        return
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    with pytest.raises(UserError, match="there is no model exports/er-s_224_"):
        MAINS[words[0]](words[1:])
