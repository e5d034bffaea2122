"""Pages of devices: commands are what the programs take, up to the first missing file; app code reads what there is."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks import report, run
from compress.coreml.hand_json import main as write_hand_json
from compress.export import parse_args
from compress.request import ExportRequest
from compress.request_check import check_request
from runtime import demo, web
from runtime.backends.contract import INPUT_NAME, OUTPUT_SHAPES
from runtime.errors import UserError
from runtime.image.crop import BOX_SCALE
from targets import read_target

ROOT = Path(__file__).parents[1]
PAGES = {
    name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("android", "browser", "iphone", "jetson", "openvino")
}


def code(page: str, language: str) -> str:
    return "".join(re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.S))


COMMANDS = [
    (page, shlex.split(line)[1:])
    for page in PAGES
    for line in code(page, "sh").splitlines()
    if line.startswith("python ")
]
EXPORTS = [(page, words) for page, words in COMMANDS if words[0] == "compress/export.py"]
# Each program, and what it misses on a machine with nothing.
OTHERS = {
    "runtime/demo.py": (demo.main, r"there is no model exports/er-"),
    "runtime/web.py": (web.main, r"er-xs_224_int8\.web is no page"),
    "benchmarks/run.py": (
        run.main,
        r"there is no model exports/er-|--target jetson-orin-nano is not this device",
    ),
    "benchmarks/report.py": (report.main, r"cannot read the records jetson\.jsonl"),
}


def test_every_command_is_checked_here() -> None:
    assert {words[0] for _, words in COMMANDS} == {"compress/export.py", "-m", *OTHERS}
    assert {page for page, _ in EXPORTS} == PAGES.keys()
    assert "make litert" in code("android", "sh") and "\nlitert:\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "words"), EXPORTS)
def test_exports(page: str, words: list[str]) -> None:
    given = vars(parse_args(words[1:]))
    assert not given.pop("list")
    if page == "openvino":  # the others' tools need not be here
        assert check_request(ExportRequest(**given)) is None
    if page == "jetson":
        assert read_target(given["target"]).int8_flavour == "trt"
    elif page == "iphone":
        assert read_target(given["target"]).formats == ("coreml",) == tuple(given["formats"])
    else:
        assert {"android": "litert", "browser": "web"}.get(page, page) == given["formats"][-1]


@pytest.mark.parametrize(("page", "words"), [(page, words) for page, words in COMMANDS if words[0] in OTHERS])
def test_commands_run_up_to_the_first_missing_file(
    page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    main, missing = OTHERS[words[0]]
    with pytest.raises(UserError, match=missing):
        main(words[1:])


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that `python -m compress.coreml.hand_json` of both phones' pages writes."""
    (words,) = {tuple(words) for _, words in COMMANDS if words[0] == "-m"}
    assert words[:3] == ("-m", "compress.coreml.hand_json", "-o")
    path: Path = tmp_path_factory.mktemp("hand") / Path(words[3]).name
    assert write_hand_json(["-o", str(path)]) == 0
    return path


@pytest.mark.parametrize("page", ["android", "iphone"])
def test_what_an_app_needs_is_told(page: str, hand: Path) -> None:
    size_mb = re.search(r"([\d.]+) MB of JSON", PAGES[page])
    assert size_mb is not None and hand.stat().st_size / 1e6 == pytest.approx(float(size_mb[1]), abs=0.05)
    language = {"android": "kotlin", "iphone": "swift"}[page]
    assert set(re.findall(r'read\("(\w+)"\)', code(page, language))) <= OUTPUT_SHAPES.keys()
    assert f"{BOX_SCALE:g} times" in PAGES[page]


def test_kotlin_reads_what_there_is(hand: Path) -> None:
    kotlin, content = code("android", "kotlin"), json.loads(hand.read_text(encoding="utf-8"))
    names = set(re.findall(r'json\.getJSONArray\("(\w+)"\)', kotlin))
    assert len(names) == 9 and names <= content["hands"][0].keys() and 'getJSONArray("hands")' in kotlin
    listed = re.search(r"listOf\((.*?)\)\s*\.associateWith", kotlin)
    assert listed is not None and set(re.findall(r'"(\w+)"', listed[1])) == OUTPUT_SHAPES.keys()
    assert f'createInputBuffer("{INPUT_NAME}")' in kotlin


def test_swift_reads_what_there_is(hand: Path) -> None:
    swift, content = code("iphone", "swift"), json.loads(hand.read_text(encoding="utf-8"))
    known = {re.sub(r"_(\w)", lambda found: found[1].upper(), key) for key in content["hands"][0]}
    declared = re.findall(r"let ([\w, ]+): \[\[?(?:Float|Int)\]?\](?:, ([\w, ]+): \[\[Int\]\])?", swift)
    names = {name for group in declared for part in group for name in re.split(r",\s*", part) if name}
    assert len(names) == 10 and names <= known
    assert "struct HandFile: Decodable { let hands: [HandModel] }" in swift and "hands" in content
    assert f'"{INPUT_NAME}": MLFeatureValue' in swift
