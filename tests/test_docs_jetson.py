"""Commands of docs/jetson.md that this project answers: what needs no Jetson runs, up to the first missing file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchmarks import report, run
from compress.export import parse_args
from runtime import demo
from runtime.errors import UserError
from targets import read_target

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/jetson.md").read_text()
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("python ")
]
# Each command's program, and what the first thing is that it misses on a machine with nothing.
FIRST_MISSING = {
    "benchmarks/run.py": (run.main, "--target jetson-orin-nano is not this device"),
    "benchmarks/report.py": (report.main, r"cannot read the records jetson\.jsonl"),
    "runtime/demo.py": (demo.main, r"there is no model .*\.engine"),
}


def test_every_command_is_checked_here() -> None:
    assert {words[0] for words in COMMANDS} == {"compress/export.py", *FIRST_MISSING}


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "compress/export.py"], ids=shlex.join)
def test_exports_parse(words: list[str]) -> None:
    assert read_target(parse_args(words[1:]).target).int8_flavour == "trt"


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] in FIRST_MISSING], ids=shlex.join)
def test_commands_run_up_to_the_first_missing_file(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    main, missing = FIRST_MISSING[words[0]]
    with pytest.raises(UserError, match=missing):
        main(words[1:])
